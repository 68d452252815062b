"""Training throughput on this machine: images per processor second, in single and mixed precision, and compiled.

    python benchmarks/training.py rsgan --preset demo --threads 1

All variants take turns in one run, so that other load slows all of them alike: quote the ratios.
"""

from __future__ import annotations

import time
from typing import Annotated

import torch
import typer

from swaplib import families, synthetic
from swaplib.training.loop import train

VARIANTS = {
    "fp32": {"precision": "fp32"},
    "bf16": {"precision": "bf16"},
    "bf16, compiled": {"precision": "bf16", "compile": True},
}


def main(
    name: str,
    preset: str = "demo",
    threads: Annotated[int, typer.Option(help="Of the processor.")] = 1,
    rounds: Annotated[int, typer.Option(help="How often each variant has its turn.")] = 3,
    steps: Annotated[int, typer.Option(help="Steps of a turn.")] = 8,
) -> None:
    """Measure the training of the family NAME, channels last, with the batch of its config."""
    torch.set_num_threads(threads)
    config = families.config(name, preset)
    faces = synthetic.render_faces(64, size=max(64, config.size)).resize(config.size)
    loops, clock = {}, time.process_time if not torch.cuda.is_available() else time.perf_counter
    for variant, options in VARIANTS.items():
        family = families.build(name, preset)
        loops[variant] = train(family, faces, 10**9, batch=config.batch, workers=1, progress=False, **options)
        for _ in range(3):
            next(loops[variant])
    speeds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(rounds):
        for variant, loop in loops.items():
            start = clock()
            for _ in range(steps):
                next(loop)
            speeds[variant].append(steps * config.batch / (clock() - start))
    for loop in loops.values():
        loop.close()
    best = {variant: sorted(values)[len(values) // 2] for variant, values in speeds.items()}
    for variant, speed in best.items():
        typer.echo(f"{name} {preset} {variant:<16} {speed:8.1f} images/s, {speed / best['fp32']:.2f} times fp32")


if __name__ == "__main__":
    typer.run(main)
