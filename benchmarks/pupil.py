"""Measure what a renderer's pupil draws from the codes that it knows, and how much better ones there are.

    python benchmarks/pupil.py
    python benchmarks/pupil.py --file studies/training/stylegan2_demo.safetensors

Prints the PSNR of held-out faces drawn from their known codes, and after a descent from there in W and in W+.
"""

from __future__ import annotations

import argparse

import torch

from swaplib import generators, metrics, synthetic
from swaplib.faces import Faces
from swaplib.generators.stylegan2 import StyleGAN2


def descend(generator: StyleGAN2, faces: Faces, space: str, steps: int) -> float:
    """Return the mean PSNR, dB, after `steps` of Adam on the squared error, from the known codes on."""
    known = generator.read(faces)
    codes = (known[:, :1] if space == "W" else known).clone().requires_grad_(True)
    optimiser = torch.optim.Adam([codes], 0.02)
    for _ in range(steps):
        shown = generator.network.synthesis(codes.expand_as(known), "none")
        optimiser.zero_grad()
        (shown - faces.images).square().mean().backward()
        optimiser.step()
    with torch.no_grad():
        return float(metrics.psnr(generator(codes.expand_as(known)), faces.images).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", help="weights; the released ones where none are named")
    parser.add_argument("--faces", type=int, default=8)
    parser.add_argument("--steps", type=int, default=200)
    chosen = parser.parse_args()
    generator = generators.load("stylegan2", file=chosen.file).eval().requires_grad_(False)
    faces = synthetic.render_faces(chosen.faces, 3, metrics.HELD_OUT + 50, size=generator.config.size)
    print(f"known codes: {descend(generator, faces, 'W', 0):.2f} dB")
    for space in ("W", "W+"):
        print(f"after {chosen.steps} steps in {space}: {descend(generator, faces, space, chosen.steps):.2f} dB")


if __name__ == "__main__":
    main()
