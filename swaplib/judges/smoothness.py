"""Measures of identity embedders: verification, and smoothness between two people (Smooth-Swap, §4.1, Table 2, Fig. 9).

An embedder is anything with `embed(faces) -> (B, D)`. All measures work on embeddings, so that each picture is embedded
only once: `embed_dataset` does it for a whole dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from swaplib import synthetic
from swaplib.data import Dataset
from swaplib.faces import Faces
from swaplib.networks.codes import slerp


class Embedder(Protocol):
    def embed(self, faces: Faces) -> torch.Tensor: ...


def embed_dataset(embedder: Embedder, dataset: Dataset, batch: int = 64) -> tuple[torch.Tensor, np.ndarray]:
    """Return unit vectors (N, D) of a dataset's pictures and their subjects (N,), without pictures that have none."""
    codes = torch.cat([embedder.embed(faces) for faces in dataset.batches(batch)])
    known = codes.isfinite().all(1)
    return torch.nn.functional.normalize(codes[known], dim=1), dataset.metadata["subject"].to_numpy()[known.numpy()]


def measure_verification(
    codes: torch.Tensor, people: np.ndarray, pairs: int = 3000, seed: int = 0, families: np.ndarray | None = None
) -> float:
    """Return the area under the ROC curve of telling pairs of one person from pairs of two by their vectors' cosine.

    pairs: of each kind, drawn at random; every person is equally likely. families: each picture's; the two people of a
    pair are then always of one family, such as the relatives that `synthetic.render_faces` renders. Raises ValueError
    where no person has several pictures.
    """
    rng = np.random.default_rng(seed)
    families = np.zeros(len(people), dtype=int) if families is None else families
    rows = [np.flatnonzero(people == person) for person in np.unique(people)]
    of = np.array([families[own[0]] for own in rows])
    others = [np.flatnonzero((of == family) & (np.arange(len(rows)) != k)) for k, family in enumerate(of)]
    several = [own for own in rows if len(own) > 1]
    related = [k for k, kin in enumerate(others) if len(kin)]
    if not several or not related:
        raise ValueError("verification needs people in several pictures: use a dataset such as LFW")
    from sklearn.metrics import roc_auc_score  # takes a second to load

    same = [rng.choice(several[k], 2, replace=False) for k in rng.integers(0, len(several), pairs)]
    different = [
        [rng.choice(rows[k]), rng.choice(rows[rng.choice(others[k])])] for k in rng.choice(related, pairs)
    ]  # fmt: skip
    both = torch.from_numpy(np.array([*same, *different]))
    scores = (codes[both[:, 0]] * codes[both[:, 1]]).sum(1)
    return float(roc_auc_score([1] * pairs + [0] * pairs, scores.numpy()))


def measure_smoothness(ends: torch.Tensor, others: torch.Tensor, between: torch.Tensor, amount: float) -> torch.Tensor:
    """Return d_smooth = ‖Slerp(z_A, z_B; r) − z_C‖ / ‖z_A − z_B‖, (N,); unit vectors (N, D) each, r = amount."""
    return (slerp(ends, others, amount) - between).norm(dim=1) / (ends - others).norm(dim=1)


def measure_by_samples(
    codes: torch.Tensor, gallery: torch.Tensor, amount: float, pairs: int = 1000, seed: int = 0
) -> torch.Tensor:
    """Return d_smooth with z_C the vector in a gallery nearest to the point between, (pairs,) (Table 2, "samples").

    codes: unit vectors (N, D) that pairs are drawn from; gallery: those of other pictures (M, D).
    """
    picks = torch.from_numpy(_couples(len(codes), pairs, seed))
    ends, others = codes[picks[:, 0]], codes[picks[:, 1]]
    nearest = (slerp(ends, others, amount) @ gallery.T).argmax(1)
    return measure_smoothness(ends, others, gallery[nearest], amount)


def _couples(count: int, pairs: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([rng.choice(count, 2, replace=False) for _ in range(pairs)])


def render_paths(
    amounts: Sequence[float], pairs: int = 100, seed: int = 0, world: str = "calm", size: int = 64
) -> Faces:
    """Render people on the way from A to B, in B's shot, which the paper could not do.

    Returns (2 + amounts) · pairs faces: all A, all B, then for each amount those at that point of the straight line
    between their shapes and skins. The faces' numbers lie outside every training set.
    """
    drawn = synthetic.sample_factors(2 * pairs, seed, synthetic.HELD_OUT, world)
    one, other = ({group: values[k::2] for group, values in drawn.items()} for k in (0, 1))
    people = [{group: torch.lerp(one[group], other[group], at) for group in synthetic.IDENTITY}
              for at in (0.0, 1.0, *amounts)]  # fmt: skip
    shots = [synthetic.swap_identity(person, other) for person in people]
    return Faces.cat([synthetic.render({g: v[k : k + 1] for g, v in shot.items()}, size) for shot in shots
                      for k in range(pairs)])  # fmt: skip


def measure_by_path(embedder: Embedder, faces: Faces, amounts: Sequence[float]) -> torch.Tensor:
    """Return d_smooth along known identities, with z_C the vector of the person in between, (amounts, pairs).

    faces, amounts: from `render_paths`.
    """
    ends, others, *between = torch.nn.functional.normalize(embedder.embed(faces), dim=1).chunk(2 + len(amounts))
    found = [measure_smoothness(ends, others, codes, at) for codes, at in zip(between, amounts, strict=True)]
    return torch.stack(found)


class Generator(Protocol):
    def sample(self, count: int, seed: int = 0) -> torch.Tensor: ...
    def __call__(self, codes: torch.Tensor) -> torch.Tensor: ...


@torch.no_grad()
def measure_by_generator(
    embedder: Embedder, generator: Generator, amount: float, pairs: int = 100, seed: int = 0, batch: int = 32
) -> torch.Tensor:
    """Return d_smooth with z_C the vector of a generated picture between two random codes, (pairs,) (Table 2, "GAN").

    The picture's code lies at r = amount of the straight line from one code to the other.
    """
    codes = generator.sample(2 * pairs, seed)
    one, other = codes[::2], codes[1::2]
    pictures = [generator(part) for part in torch.cat([one, other, one.lerp(other, amount)]).split(batch)]
    found = torch.cat([embedder.embed(Faces(images)) for images in pictures])
    return measure_smoothness(*torch.nn.functional.normalize(found, dim=1).chunk(3), amount)


def count_unique(codes: torch.Tensor, gallery: torch.Tensor, pairs: int = 64, seed: int = 0) -> np.ndarray:
    """Count the different pictures nearest to the points r = 0.1, 0.2 … 0.9 between two faces, (pairs,) (Fig. 9).

    gallery: vectors of other pictures, (M, D).
    """
    picks = torch.from_numpy(_couples(len(codes), pairs, seed))
    ends, others = codes[picks[:, 0]], codes[picks[:, 1]]
    nearest = [(slerp(ends, others, k / 10) @ gallery.T).argmax(1).numpy() for k in range(1, 10)]
    return np.array([len(set(row)) for row in np.stack(nearest, 1)])
