"""StyleGAN2's generator and LatentSwap's mixers against straightforward versions of the same networks.

    python benchmarks/stylegan2.py --size 256 --size 1024 --batch 1 --batch 8 --threads 1

The straightforward versions modulate the weights for each picture in one grouped convolution, apply FIR filters as
convolutions with one filter per channel, and run one mixer after the other. Both versions have the same weights, give
the same numbers (checked first), and take turns in one run, so that other load slows both alike: quote the ratios.
Times are processor time of all threads, which other load disturbs less than wall-clock time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
import typer

from swaplib.families.latent_swap import Mixer
from swaplib.networks.stylegan2 import Generator

Weights = dict[str, torch.Tensor]

# ---------------------------------------------------------------------------------------------- straightforwardly


def fir(x: torch.Tensor, padding: tuple[int, int, int, int]) -> torch.Tensor:
    """Filter by [1, 3, 3, 1] in both directions, with a gain of 4."""
    taps = torch.tensor([1.0, 3, 3, 1])
    kernel = (torch.outer(taps, taps) / 16).to(x.dtype).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, padding), kernel, groups=x.shape[1])


def doubled(x: torch.Tensor) -> torch.Tensor:
    """Put zeros between the pixels, then filter."""
    batch, channels, height, width = x.shape
    x = F.pad(x.reshape(batch, channels, height, 1, width, 1), (0, 1, 0, 0, 0, 1))
    return fir(x.reshape(batch, channels, 2 * height, 2 * width), (2, 1, 2, 1))


def modulated(x: torch.Tensor, weight: torch.Tensor, style: torch.Tensor, grow: bool, demodulate: bool) -> torch.Tensor:
    """Apply a grouped convolution with each picture's own weights."""
    batch, outputs, kernel, size = len(x), len(weight), weight.shape[-1], x.shape[-1]
    weight = weight * style[:, None, :, None, None]
    if demodulate:
        weight = weight * (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    x = x.reshape(1, -1, size, size)
    if grow:
        x = F.conv_transpose2d(x, weight.transpose(1, 2).flatten(0, 1).to(x.dtype), stride=2, groups=batch)
        return fir(x.reshape(batch, outputs, 2 * size + 1, -1), (1, 1, 1, 1))
    x = F.conv2d(x, weight.flatten(0, 1).to(x.dtype), padding=kernel // 2, groups=batch)
    return x.reshape(batch, outputs, size, size)


def affine(weights: Weights, name: str, w: torch.Tensor) -> torch.Tensor:
    weight = weights[f"{name}.affine.weight"]
    return F.linear(w, weight * weight.shape[1] ** -0.5, weights[f"{name}.affine.bias"])


def layer(x: torch.Tensor, weights: Weights, name: str, w: torch.Tensor, grow: bool = False) -> torch.Tensor:
    x = modulated(x, weights[f"{name}.weight"], affine(weights, name, w), grow, True)
    x = x + (weights[f"{name}.noise_const"] * weights[f"{name}.noise_strength"]).to(x.dtype)
    return F.leaky_relu(x + weights[f"{name}.bias"][:, None, None].to(x.dtype), 0.2) * math.sqrt(2)


def to_rgb(x: torch.Tensor, weights: Weights, name: str, w: torch.Tensor) -> torch.Tensor:
    style = affine(weights, name, w) * x.shape[1] ** -0.5
    return modulated(x, weights[f"{name}.weight"], style, False, False).float() + weights[f"{name}.bias"][:, None, None]


def synthesis(weights: Weights, ws: torch.Tensor, size: int, kind: torch.dtype) -> torch.Tensor:
    x = weights["b4.const"].expand(len(ws), -1, -1, -1).to(kind)
    x = layer(x, weights, "b4.conv1", ws[:, 0])
    picture, index, side = to_rgb(x, weights, "b4.torgb", ws[:, 1]), 1, 8
    while side <= size:
        x = layer(x, weights, f"b{side}.conv0", ws[:, index], True)
        x = layer(x, weights, f"b{side}.conv1", ws[:, index + 1])
        picture = doubled(picture) + to_rgb(x, weights, f"b{side}.torgb", ws[:, index + 2])
        index, side = index + 2, 2 * side
    return picture


def mixed(mixer: Mixer, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Run one layer's mixer after the other, with weights as `nn.Linear` has them."""
    outputs = []
    for number in range(source.shape[1]):
        x = torch.cat([source[:, number], target[:, number]], 1)
        for k, (weight, bias) in enumerate(zip(mixer.weights, mixer.biases, strict=True)):
            x = F.linear(F.silu(x) if k else x, weight[number], bias[number, 0])
        outputs.append(x + mixer.residual * target[:, number])
    return torch.stack(outputs, 1)


# ---------------------------------------------------------------------------------------------- measured


def compare(what: str, plain: Callable, ours: Callable, rounds: int, tolerance: float, bytes_read: int = 0) -> None:
    """Check that both give the same, then time them in turns."""
    wanted, found = plain(), ours()
    error = float((wanted - found).abs().max() / wanted.abs().max())
    assert error < tolerance, f"{what}: outputs differ by {error:.1e} of the greatest"
    seconds: dict[Callable, list[float]] = {plain: [], ours: []}
    for _ in range(rounds):
        for form, times in seconds.items():
            start = time.process_time()
            form()
            times.append(time.process_time() - start)
    before, after = (sorted(times)[rounds // 2] for times in seconds.values())
    speed = f", weights read at {bytes_read / after / 1e9:.1f} GB/s" if bytes_read else ""
    ratio = f"{before / after:.2f} times (best of each {min(seconds[plain]) / min(seconds[ours]):.2f})"
    typer.echo(f"{what:<34} {before:8.3f} s -> {after:8.3f} s, {ratio}, difference {error:.0e}{speed}")


def bandwidth() -> float:
    """Return the bytes per second that one pass over a large array reads."""
    numbers = torch.ones(1 << 26)
    times = []
    for _ in range(5):
        start = time.process_time()
        numbers.sum()
        times.append(time.process_time() - start)
    return numbers.numel() * 4 / min(times)


def main(
    size: Annotated[list[int], typer.Option(help="Pixels; full width.")] = (256, 1024),
    batch: Annotated[list[int], typer.Option(help="Pictures at once.")] = (1, 8),
    rounds: Annotated[int, typer.Option(help="How often each form has its turn.")] = 5,
    threads: Annotated[int, typer.Option(help="Of the processor.")] = 1,
    bf16: Annotated[bool, typer.Option(help="Also in bfloat16.")] = False,
) -> None:
    """Measure generators of some sizes and 18 mixers, without gradients."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    for side in size:
        generator = Generator(side).eval()
        for name, value in generator.named_parameters():
            if name.endswith("noise_strength"):
                value.fill_(0.1)
        weights = generator.synthesis.state_dict()
        for count in batch:
            ws = torch.randn(count, generator.layers, 512)
            name = f"generator, {side} px, batch {count}"
            compare(
                f"{name}, fp32",
                lambda weights=weights, ws=ws, side=side: synthesis(weights, ws, side, torch.float32),
                lambda generator=generator, ws=ws: generator.synthesis(ws),
                rounds,
                1e-4,
            )
            if bf16:
                with torch.autocast("cpu", torch.bfloat16):
                    compare(
                        f"{name}, bf16",
                        lambda weights=weights, ws=ws, side=side: synthesis(weights, ws, side, torch.bfloat16),
                        lambda generator=generator, ws=ws: generator.synthesis(ws),
                        rounds,
                        0.1,
                    )
    mixer = Mixer(18, 512)
    read = 4 * sum(parameter.numel() for parameter in mixer.parameters())
    typer.echo(f"one pass over memory: {bandwidth() / 1e9:.1f} GB/s")
    for count in batch:
        source, target = torch.randn(2, count, 18, 512)
        compare(
            f"18 mixers, batch {count}, fp32",
            lambda source=source, target=target: mixed(mixer, source, target),
            lambda source=source, target=target: mixer(source, target),
            4 * rounds,
            1e-5,
            read,
        )


if __name__ == "__main__":
    typer.run(main)
