"""Measure the mesh in swaps: how deep a pattern is that returns every two pixels, beside that of the true swaps.

    python benchmarks/mesh.py smooth_swap
    python benchmarks/mesh.py smooth_swap --file RUNS/smooth_swap_demo.safetensors

Prints its depth in grey levels of 255 in the middle of the picture, from row to row and from column to column.
Distances of features hardly see such a pattern if their network's first layer steps by two pixels.
"""

from __future__ import annotations

import argparse

import torch

from swaplib import families, latent, metrics, synthetic


def measure(images: torch.Tensor) -> tuple[float, float]:
    """Return the mean depth of the pattern from row to row and from column to column; images (B, 3, S, S)."""
    size = images.shape[-1]
    face = images.mean(1)[:, size // 4 : size * 7 // 8, size // 4 : size * 3 // 4]
    depths = []
    for axis in (1, 2):
        bent = face.diff(n=2, dim=axis).transpose(1, axis)
        sign = 1 - 2 * (torch.arange(bent.shape[1]) % 2)
        depths.append(float((bent * sign[:, None]).mean((1, 2)).abs().mean()) * 127.5 / 4)
    return depths[0], depths[1]


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=families.NAMES)
    parser.add_argument("--file", help="weights; the released ones where none are named")
    parser.add_argument("--pairs", type=int, default=24)
    chosen = parser.parse_args()
    family = families.load(chosen.family, file=chosen.file)
    faces = synthetic.render_faces(2 * chosen.pairs, 3, metrics.HELD_OUT + 50, size=family.config.size)
    source, target = faces[::2], faces[1::2]
    shown = {"swaps": latent.swap(family, source, target), "true swaps": synthetic.true_swap(source, target).images}
    for name, images in shown.items():
        print(f"{name}: {' and '.join(f'{depth:.2f}' for depth in measure(images))} grey levels")


if __name__ == "__main__":
    main()
