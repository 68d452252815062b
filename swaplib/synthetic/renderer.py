"""From factors to pictures with exact labels and landmarks.

One picture: build the meshes (head, glasses, ribbons of hair) with the midpoint of the eyes at the origin, find the
triangle at every sample, paint and light the samples, take the majority label and the mean colour of each pixel, in 256
levels. The work is done by numba's kernels on the processor: the same factors give the same picture in any process, so
that pictures are kept on disk (`swaplib.cache`) and rendered once on a machine.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from swaplib import cache
from swaplib.faces import Faces, from_uint8, to_uint8
from swaplib.synthetic.celeba import attributes
from swaplib.synthetic.factors import Factors
from swaplib.synthetic.version import digest_files

SIZES = (64, 512)


@torch.no_grad()
def render(factors: Factors, size: int = 128, supersample: int = 2, keep: bool = True) -> Faces:
    """Render pictures of the given factors with everything that is known about them; see `swaplib.faces.Faces`.

    size: pixels, 64 to 512; supersample: samples per pixel along each axis; keep: look for the pictures on disk, and
    keep those that aren't there. Images have 256 levels, as in a PNG. The identity number is -1: factors do not name a
    person. Raises ValueError for sizes outside the range and for factors that are not finite.
    """
    if not SIZES[0] <= size <= SIZES[1]:
        raise ValueError(
            f"size must be {SIZES[0]} to {SIZES[1]} pixels, got {size}: render at a size in between and resize"
        )
    broken = ", ".join(group for group, values in factors.items() if not values.isfinite().all())
    if broken:
        raise ValueError(f"the factors {broken} hold values that are not finite numbers: draw them with sample_factors")
    factors = {group: values.cpu().float() for group, values in factors.items()}

    def make(numbers: Sequence[int]) -> list[cache.Result]:
        return _render_all({group: values[list(numbers)] for group, values in factors.items()}, size, supersample)

    keys = _make_keys(factors, size, supersample)
    pictures = cache.recall("faces", keys, make) if keep else make(range(len(keys)))
    images, labels, landmarks = (torch.stack([one[name] for one in pictures]) for name in _KEPT)
    return Faces(
        images=from_uint8(images.numpy()),
        labels=labels,
        landmarks=landmarks,
        attributes=attributes(factors),
        identity=torch.full((len(images),), -1),
        factors=factors,
    )


_KEPT = ("image", "labels", "landmarks")


def _make_keys(factors: Factors, size: int, supersample: int) -> list[bytes]:
    settings = f"{digest_files()} {size} {supersample} {sorted(factors)}".encode()
    rows = torch.cat([factors[group] for group in sorted(factors)], 1).numpy()
    return [settings + row.tobytes() for row in rows]


def _render_all(factors: Factors, size: int, supersample: int) -> list[cache.Result]:
    """Render each face: image (S, S, 3) and labels (S, S), uint8, and landmarks (68, 2)."""
    from swaplib.synthetic.picture import render_all  # brings numba: only when something is rendered

    with _no_garbage_collection():
        pictures = render_all(factors, size, supersample)
    pictures = [[torch.from_numpy(part) for part in parts] for parts in pictures]
    return [
        {"image": torch.from_numpy(to_uint8(image)), "labels": labels, "landmarks": landmarks.float()}
        for image, labels, landmarks in pictures
    ]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Let no garbage be looked for inside the block: where kernels are compiled, that takes a fifth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
