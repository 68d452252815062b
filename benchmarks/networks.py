"""The other networks at their papers' sizes, each against a straightforward form of the same.

    python benchmarks/networks.py --threads 1
    python benchmarks/networks.py --threads 2 --only bisenet --only mgpe

Straightforward is what the authors' code does: one layer after the other by torch's modules, normalisation after the
convolution, filters as convolutions with one filter per channel, attention by its two products, all of BiSeNet's three
outputs, one mixer after the other. Both forms have the same random weights and running means, give the same numbers
(checked first), and take turns in one run, so that other load slows both alike: quote the ratios. Times are processor
time with one thread, else wall-clock time. The mixers read each weight once, so that memory limits them: their rate
stands beside that of one pass over a large array.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated
from unittest import mock

import torch
import torch.nn.functional as F
import typer
from torch import nn

from swaplib import families, synthetic
from swaplib.families.latent_swap import Mixer
from swaplib.networks import bisenet, ncsnpp, psp
from swaplib.networks.convolution import Conv2d
from swaplib.networks.facevid2vid import FaceVid2Vid
from swaplib.networks.ir_se import IRSE50

Form = Callable[[], torch.Tensor]

# ---------------------------------------------------------------------------------------------- straightforwardly


def convolve(layer: Conv2d, x: torch.Tensor, norm: nn.Module | None = None) -> torch.Tensor:
    x = nn.Conv2d.forward(layer, x)
    return x if norm is None else norm(x)


def fir(x: torch.Tensor, padding: tuple[int, int, int, int], gain: float, stride: int = 1) -> torch.Tensor:
    """Filter by [1, 3, 3, 1] / 8 in both directions."""
    taps = torch.tensor([1.0, 3, 3, 1]) / 8
    kernel = (gain * torch.outer(taps, taps)).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, padding), kernel, stride=stride, groups=x.shape[1])


def half(x: torch.Tensor) -> torch.Tensor:
    return fir(x, (1, 1, 1, 1), 1, 2)


def double(x: torch.Tensor) -> torch.Tensor:
    """Put zeros between the pixels, then filter."""
    batch, channels, height, width = x.shape
    x = F.pad(x.reshape(batch, channels, height, 1, width, 1), (0, 1, 0, 0, 0, 1))
    return fir(x.reshape(batch, channels, 2 * height, 2 * width), (2, 1, 2, 1), 4)


def attend(layer: ncsnpp.Attention, x: torch.Tensor) -> torch.Tensor:
    h = layer.GroupNorm_0(x)
    query, key, value = layer.NIN_0(h), layer.NIN_1(h), layer.NIN_2(h)
    weights = torch.einsum("bchw,bcij->bhwij", query, key) * x.shape[1] ** -0.5
    weights = weights.flatten(3).softmax(-1).view_as(weights)
    return (x + layer.NIN_3(torch.einsum("bhwij,bcij->bchw", weights, value))) / 2**0.5


def mix(mixer: Mixer, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    outputs = []
    for number in range(source.shape[1]):
        x = torch.cat([source[:, number], target[:, number]], 1)
        for k, (weight, bias) in enumerate(zip(mixer.weights, mixer.biases, strict=True)):
            x = F.linear(F.silu(x) if k else x, weight[number], bias[number, 0])
        outputs.append(x + mixer.residual * target[:, number])
    return torch.stack(outputs, 1)


@contextmanager
def straightforward(network: nn.Module) -> Iterator[None]:
    """Replace, for a while, what is faster here by what the authors do."""
    resized = {block: block.resize for block in network.modules() if isinstance(block, ncsnpp.Block)}
    with (
        mock.patch.object(Conv2d, "forward", convolve),
        mock.patch.object(ncsnpp, "half", half),
        mock.patch.object(ncsnpp.Attention, "forward", attend),
        mock.patch.object(ncsnpp, "double", double),
        mock.patch.object(bisenet.BiSeNet, "forward", lambda network, images: network.heads(images)[0]),
        mock.patch.object(Mixer, "forward", mix),
    ):
        for block, resize in resized.items():
            block.resize = resize and {"half": half, "double": double}[resize.__name__]
        try:
            yield
        finally:
            for block, resize in resized.items():
                block.resize = resize


# ---------------------------------------------------------------------------------------------- networks


def randomised(network: nn.Module) -> nn.Module:
    """Give normalisations running means, and layers that start at zero weights, so that every layer counts."""
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
        elif isinstance(module, nn.Conv2d) and not module.weight.any():
            nn.init.xavier_uniform_(module.weight)
    return network.eval()


def ncsnpp_256() -> tuple[nn.Module, Form]:
    network = ncsnpp.NCSNPP(256, 64, (1, 1, 2, 2, 2, 2, 2), 2, (16,), 256)  # Smooth-Swap's
    images, condition = torch.rand(1, 3, 256, 256) * 2 - 1, torch.randn(1, 256)
    return network, lambda: network(images, condition)


def facevid2vid_256() -> tuple[nn.Module, Form]:
    network = FaceVid2Vid()
    source, driver = torch.rand(2, 1, 3, 256, 256) * 2 - 1
    return network, lambda: network(source, driver)


def mgpe_256() -> tuple[nn.Module, Form]:
    """Five encoders, five decoders and the generator of Mask-Guided Portrait Editing."""
    family = families.build("mask_guided", "paper")
    faces = synthetic.render_faces(1, 0, size=256)
    return family, lambda: family.decode(family.encode(faces))


def ir_se50_112() -> tuple[nn.Module, Form]:
    network, images = IRSE50(), torch.rand(1, 3, 112, 112) * 2 - 1
    return network, lambda: network(images)


def bisenet_512() -> tuple[nn.Module, Form]:
    network, images = bisenet.BiSeNet(), torch.randn(1, 3, 512, 512)
    return network, lambda: network(images)


def psp_1024() -> tuple[nn.Module, Form]:
    network, images = psp.GradualStyleEncoder(), torch.rand(1, 3, 256, 256) * 2 - 1
    return network, lambda: network(images)


def e4e_1024() -> tuple[nn.Module, Form]:
    network, images = psp.Encoder4Editing(), torch.rand(1, 3, 256, 256) * 2 - 1
    return network, lambda: network(images)


def mixers_1024() -> tuple[nn.Module, Form]:
    network = Mixer(18, 512)
    source, target = torch.randn(2, 1, 18, 512)
    return network, lambda: network(source, target)


NETWORKS = {
    "ncsnpp": ncsnpp_256, "facevid2vid": facevid2vid_256, "mgpe": mgpe_256, "ir_se50": ir_se50_112,
    "bisenet": bisenet_512, "psp": psp_1024, "e4e": e4e_1024, "mixers": mixers_1024,
}  # fmt: skip

TOLERANCE = {"facevid2vid": 5e-3}
"""Heat maps of random weights are nearly flat, and rounding moves their keypoints."""


# ---------------------------------------------------------------------------------------------- measured


def measure(form: Form, clock: Callable[[], float]) -> tuple[float, torch.Tensor]:
    start = clock()
    found = form()
    return clock() - start, found


def pass_over_memory(clock: Callable[[], float]) -> float:
    """Return the bytes per second that one pass over a large array reads."""
    numbers = torch.ones(1 << 26)
    return 4 * numbers.numel() / min(measure(numbers.sum, clock)[0] for _ in range(5))


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"Some of {', '.join(NETWORKS)}; by default all.")] = None,
    rounds: Annotated[int, typer.Option(help="How often each form has its turn.")] = 5,
    threads: Annotated[int, typer.Option(help="Of the processor.")] = 1,
) -> None:
    """Measure one picture through each network, without gradients."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    clock = time.process_time if threads == 1 else time.perf_counter
    for name in only or NETWORKS:
        torch.manual_seed(0)
        network, form = NETWORKS[name]()
        randomised(network)
        times: dict[str, list[float]] = {"straightforward": [], "here": []}
        for number in range(rounds + 1):  # the first time prepares weights and doesn't count
            with straightforward(network):
                before, wanted = measure(form, clock)
            after, found = measure(form, clock)
            if number:
                times["straightforward"].append(before)
                times["here"].append(after)
        error = float((wanted - found).abs().max() / wanted.abs().max())
        assert error < TOLERANCE.get(name, 1e-4), f"{name}: outputs differ by {error:.1e} of the greatest"
        before, after = (sorted(some)[rounds // 2] for some in times.values())
        best = min(times["straightforward"]) / min(times["here"])
        line = f"{name:<12} {before:7.3f} s -> {after:7.3f} s, {before / after:.2f} times (best of each {best:.2f})"
        if name == "mixers":
            read = sum(parameter.nbytes for parameter in network.parameters()) / after / 1e9
            line += f", weights read at {read:.1f} GB/s, memory at {pass_over_memory(clock) / 1e9:.1f}"
        typer.echo(f"{line}, difference {error:.0e}")


if __name__ == "__main__":
    typer.run(main)
