"""What a lesson looks at: rendered faces, or photographs of a prepared folder in their place."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from swaplib import data, synthetic, weights
from swaplib.faces import Faces


def draw_faces(
    count: int,
    seed: int = 0,
    start: int = 0,
    world: str = "calm",
    size: int = 128,
    folder: str | os.PathLike | None = None,
    jobs: int = 1,
) -> Faces:
    """Return faces of a series, at `size` pixels: rendered ones, or photographs of a prepared folder.

    seed, start, world, jobs: as for `synthetic.render_faces`. Of photographs, seed and start choose which are taken
    first; where there are fewer than asked for, they come again. Raises as `data.open` does, and ValueError for a
    folder without photographs.
    """
    if folder is None:
        return synthetic.render_faces(count, seed, start, world, size, jobs=jobs)
    photographs = data.open(folder)
    if not len(photographs):
        raise ValueError(f"{folder} holds no faces: prepare photographs into it (swaplib prepare)")
    order = np.random.default_rng(seed).permutation(len(photographs))
    return photographs[[int(order[(start + k) % len(order)]) for k in range(count)]].resize(size)


def open_photographs(folder: str | os.PathLike | None) -> data.Dataset | None:
    """Open a prepared folder; None where none is named."""
    return None if folder is None else data.open(folder)


def list_weights(preset: str, *names: str) -> list[Path]:
    """Return the files of models' weights at a preset, those that are there."""
    return [path for path in (weights.find_released(name, preset) for name in names) if path.exists()]
