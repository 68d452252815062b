"""E4S's mask-guided generator against a straightforward version of the same, like its authors'.

    python benchmarks/e4s.py --size 256 --threads 1
    python benchmarks/e4s.py --pair demo --pair paper --threads 2

The straightforward version runs each masked layer once for each of the 12 regions, over the whole map, with that
region's own weights, then cuts out the region's mask and adds everything up. Both versions have the same weights, give
the same numbers (checked first), and take turns in one run, so that other load slows both alike: quote the ratios.
Times are processor time of all threads. Label maps are rendered faces'. Layers of pictures above 256 px are unmasked,
as in the paper (K = 13 at 1024 px). --pair: the stages of one swap, in wall-clock time, with random weights where there
are none.
"""

from __future__ import annotations

import math
import time
from typing import Annotated

import torch
import torch.nn.functional as F
import typer

from swaplib import families, synthetic, weights
from swaplib.faces import E4S, relabel
from swaplib.families.e4s_regions import blend_swap, swap_mask, transfer_hair
from swaplib.latent import reenactment
from swaplib.networks.e4s import masked_synthesis, resized, shares
from swaplib.networks.resample import blur
from swaplib.networks.stylegan2 import Generator, Layer, Synthesis, ToRGB

MASKED = 13


def modulated(x: torch.Tensor, weight: torch.Tensor, style: torch.Tensor, demodulate: bool, grow: bool) -> torch.Tensor:
    """Apply a grouped convolution with each picture's own weights; then the filter, in a layer that upsamples."""
    batch, kernel, size = len(x), weight.shape[-1], x.shape[-1]
    weight = weight * style[:, None, :, None, None]
    if demodulate:
        weight = weight * (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    x = x.reshape(1, -1, size, size)
    if not grow:
        return F.conv2d(x, weight.flatten(0, 1), padding=kernel // 2, groups=batch).unflatten(1, (batch, -1))[0]
    x = F.conv_transpose2d(x, weight.transpose(1, 2).flatten(0, 1), stride=2, groups=batch).unflatten(1, (batch, -1))[0]
    return 4 * blur(x, 1)


def straightforward(synthesis: Synthesis, codes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Turn codes (B, regions, layers, w) and labels (B, H, W) into pictures."""
    regions = codes.shape[1]
    masks = {side: shares(labels, regions, side) for side in synthesis.sizes}

    def summed(module: Layer | ToRGB, x: torch.Tensor, k: int, gain: float, demodulate: bool, side: int):
        total = 0
        for region in range(regions):
            style = module.affine(codes[:, region, k]) * gain
            shown = modulated(x, module.weight, style, demodulate, getattr(module, "grow", False))
            total = total + shown * masks[side][:, region, None]
        return total

    def steer(layer: Layer, x: torch.Tensor, k: int) -> torch.Tensor:
        if k >= MASKED:
            return layer(x, codes[:, 0, k])
        x = summed(layer, x, k, 1.0, True, layer.size) + layer.noise_const * layer.noise_strength
        return F.leaky_relu(x + layer.bias[:, None, None], 0.2) * math.sqrt(2)

    def look(torgb: ToRGB, x: torch.Tensor, k: int) -> torch.Tensor:
        if k >= MASKED:
            return torgb(x, codes[:, 0, k])
        return summed(torgb, x, k, x.shape[1] ** -0.5, False, x.shape[-1]) + torgb.bias[:, None, None]

    return synthesis.walk(len(codes), steer, look)


def stages(preset: str, rounds: int, seed: int) -> dict[str, float]:
    """Return the median seconds of each stage of one swap."""
    family = (families.load if weights.find_released("e4s", preset).exists() else families.build)("e4s", preset).eval()
    size = family.config.size
    source, target = (synthetic.render_faces(1, seed + k, size=min(max(size, 64), 512)).resize(size) for k in (0, 1))
    ours, theirs = family.encode(source), family.encode(target)
    mask, holes = swap_mask(ours["mask"], theirs["mask"])
    mixed = family.mix(ours, theirs)
    shown = family.decode(mixed)
    work = {
        "drive by landmarks": lambda: reenactment.load("landmarks").drive(source, target),
        "encode source and target": lambda: [family.encode(one) for one in (source, target)],
        "mix": lambda: family.mix(ours, theirs),
        "decode": lambda: family.decode(mixed),
        "blend": lambda: blend_swap(shown, target.images, mask, holes),
        "hair transfer": lambda: family.decode(transfer_hair(ours, theirs)),
    }
    found = {}
    for name, form in work.items():
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            form()
            times.append(time.perf_counter() - start)
        found[name] = sorted(times)[rounds // 2]
    return found


def main(
    size: Annotated[list[int] | None, typer.Option(help="Pixels; full width; 64 where no pair is asked for.")] = None,
    pair: Annotated[list[str] | None, typer.Option(help="Presets whose swap of one pair is taken apart.")] = None,
    rounds: Annotated[int, typer.Option(help="How often each form has its turn.")] = 3,
    threads: Annotated[int, typer.Option(help="Of the processor.")] = 1,
    seed: Annotated[int, typer.Option(help="Of face, weights and codes.")] = 0,
) -> None:
    """Measure generators of some sizes on one face, without gradients, and plain StyleGAN2 beside them."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    torch.manual_seed(seed)
    for preset in pair or []:
        found = stages(preset, rounds, seed)
        typer.echo(f"{preset}: " + ", ".join(f"{name} {seconds:.3f} s" for name, seconds in found.items()))
    for side in size or ([] if pair else [64]):
        synthesis = Generator(side).eval().synthesis
        for name, value in synthesis.named_parameters():
            if name.endswith("noise_strength"):
                value.fill_(0.1)
        faces = synthetic.render_faces(1, seed, size=min(max(side, 64), 512))
        labels = relabel(faces.labels, target="e4s")
        codes = torch.randn(1, len(E4S), synthesis.layers, 512)
        forms = {
            "straightforward": lambda s=synthesis, c=codes, m=labels: straightforward(s, c, m),
            "here": lambda s=synthesis, c=codes, m=labels: masked_synthesis(s, c, m, MASKED),
            "unmasked": lambda s=synthesis, c=codes: s(c[:, 0]),
        }
        first = [form() for form in forms.values()]
        error = float((first[0] - first[1]).abs().max() / first[0].abs().max())
        assert error < 1e-5, f"outputs differ by {error:.1e} of the greatest"
        seconds: dict[str, list[float]] = {name: [] for name in forms}
        for _ in range(rounds):
            for name, form in forms.items():
                start = time.process_time()
                form()
                seconds[name].append(time.process_time() - start)
        median = {name: sorted(times)[rounds // 2] for name, times in seconds.items()}
        regions = len(resized(labels, side).unique())
        typer.echo(
            f"{side} px, {regions} regions: " + ", ".join(f"{name} {value:.3f} s" for name, value in median.items())
            + f"; {median['straightforward'] / median['here']:.2f} times, difference {error:.0e}"
        )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
