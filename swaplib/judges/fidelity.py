"""Distances between two sets of pictures: how much the distributions of their features differ.

    Fréchet            ‖μ − μ'‖² + tr(Σ + Σ' − 2 (Σ Σ')^½)           FID, Heusel et al. 2017, arXiv:1706.08500, eq. 6
    kernel             MMD² with k(x, y) = (x·y / D + 1)³, unbiased     KID, Bińkowski et al. 2018, arXiv:1801.01401, §4
    precision, recall  the share of drawn pictures that could be true ones, and of true ones that could be drawn
                       (Kynkäänniemi et al. 2019, arXiv:1904.06991, eqs 1 and 2)

The papers take Inception's features; here they come from the trunk of our classifying embedder, which knows faces and
is available. So the numbers can be compared with each other, not with those of papers. The Fréchet distance of few
pictures is too large: compare it only among sets of equal size. The kernel distance has no such bias, and may fall
below 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from swaplib import judges

Features = Callable[[torch.Tensor], torch.Tensor]
"""Images (B, 3, H, W) in [-1, 1], portrait framing -> (B, D)."""


def load_features(name: str = "identity_linear", preset: str = "demo") -> Features:
    """Return a function that gives the pooled features of a released embedder's trunk."""
    judge = judges.load(name, preset)

    @torch.no_grad()
    def pooled(images: torch.Tensor) -> torch.Tensor:
        return judge.trunk(judge.seen(images)).float()

    return pooled


def gather_features(batches: Iterable[torch.Tensor], features: Features | None = None) -> torch.Tensor:
    """Return the features of all pictures in some batches (B, 3, H, W), float64 (N, D).

    features: `load_features()` by default.
    """
    features = load_features() if features is None else features
    return torch.cat([features(images).cpu() for images in batches]).double()


def frechet_distance(features: torch.Tensor, others: torch.Tensor) -> float:
    """Return the Fréchet distance of the normal distributions that fit features (N, D) and (M, D) (FID, eq. 6).

    Raises ValueError for fewer than two pictures in a set.
    """
    _enough(features, others)
    shift = features.mean(0) - others.mean(0)
    mine, theirs = (torch.cov(one.double().T).reshape(one.shape[1], -1) for one in (features, others))
    # The root of Σ Σ' has the eigenvalues of that of Σ^½ Σ' Σ^½, which is symmetric.
    values, vectors = torch.linalg.eigh(mine)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    both = torch.linalg.eigvalsh(root @ theirs @ root).clamp(min=0).sqrt().sum()
    return float(shift.double().square().sum() + mine.trace() + theirs.trace() - 2 * both)


def kernel_distance(
    features: torch.Tensor, others: torch.Tensor, size: int = 1000, subsets: int = 50, seed: int = 0
) -> tuple[float, float]:
    """Return mean and standard deviation of the kernel distance over random subsets of features (N, D) and (M, D).

    size: pictures of each set in a subset, at most. Raises ValueError for fewer than two pictures in a set.
    """
    _enough(features, others)
    draw = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(subsets):
        mine, theirs = (one[torch.randperm(len(one), generator=draw)[:size]].double() for one in (features, others))
        found.append(_mmd(mine, theirs))
    values = torch.stack(found)
    return float(values.mean()), float(values.std()) if subsets > 1 else float("nan")


def precision_recall(features: torch.Tensor, others: torch.Tensor, neighbours: int = 3) -> tuple[float, float]:
    """Return the share of features (N, D) that lie where the others (M, D) do, and the share the other way round.

    A point lies where a set does if it is at most as far from one of its points as that one's k-th nearest neighbour in
    the set is (Kynkäänniemi et al. 2019). For precision and recall, `features` are those of drawn pictures, `others`
    those of true ones, as many of each. Raises ValueError for sets of k pictures or fewer.
    """
    if min(len(features), len(others)) <= neighbours:
        raise ValueError(f"{len(features)} and {len(others)} pictures: each set needs more than {neighbours}")
    apart = torch.cdist(features.double(), others.double())
    reach = [torch.cdist(one.double(), one.double()).kthvalue(neighbours + 1, 1).values for one in (features, others)]
    precision, recall = (apart <= reach[1]).any(1), (apart <= reach[0][:, None]).any(0)
    return float(precision.double().mean()), float(recall.double().mean())


def _mmd(features: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    def alike(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return (one @ other.T / one.shape[1] + 1) ** 3

    def among(one: torch.Tensor) -> torch.Tensor:
        """Return the mean over the pairs of two different pictures."""
        table = alike(one, one)
        return (table.sum() - table.trace()) / (len(one) * (len(one) - 1))

    return among(features) + among(others) - 2 * alike(features, others).mean()


def _enough(features: torch.Tensor, others: torch.Tensor) -> None:
    if min(len(features), len(others)) < 2:
        raise ValueError(f"{len(features)} and {len(others)} pictures: a distribution needs two at least")
