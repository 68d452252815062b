"""Distances of distributions: known ones come out, equal ones are near, others are told apart."""

from __future__ import annotations

import drawn
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from swaplib.judges import fidelity


def normal(count: int, seed: int, dimensions: int = 4) -> torch.Tensor:
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_distance_of_two_normal_distributions_is_the_known_one():
    """Of N(a, s²) and N(b, t²) in each of D directions: D ((a − b)² + (s − t)²)."""
    a, b = 2 + 3 * normal(40_000, 0), -1 + 0.5 * normal(40_000, 1)
    assert fidelity.frechet_distance(a, b) == pytest.approx(4 * (3**2 + 2.5**2), rel=0.02)


@given(st.integers(0, 1000), st.integers(2, 6))
@settings(deadline=None, max_examples=25)
def test_the_roots_of_the_covariances_are_those_of_scipy(seed, dimensions):
    mix = normal(dimensions, seed + 1, dimensions)
    a, b = normal(30, seed + 2, dimensions) @ mix, 1 + normal(20, seed + 3, dimensions)
    first, second = np.cov(a.T), np.cov(b.T)
    wanted = (a.mean(0) - b.mean(0)).square().sum() + np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert fidelity.frechet_distance(a, b) == pytest.approx(float(wanted), rel=1e-6, abs=1e-6)
    assert fidelity.frechet_distance(a, b) == pytest.approx(fidelity.frechet_distance(b, a), rel=1e-6, abs=1e-6)
    assert fidelity.frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_the_kernel_distance_is_the_mean_over_pairs_written_out():
    a, b = normal(7, 0), 1 + normal(5, 1)

    def k(x, y):
        return float(x @ y / 4 + 1) ** 3

    own = np.mean([k(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j])
    other = np.mean([k(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j])
    cross = np.mean([k(x, y) for x in a for y in b])
    mean, spread = fidelity.kernel_distance(a, b, subsets=3)  # each subset is the whole
    assert mean == pytest.approx(own + other - 2 * cross, rel=1e-9)
    assert spread == pytest.approx(0, abs=1e-9)


def test_the_kernel_distance_of_one_distribution_is_unbiased_where_frechets_is_not():
    sets = [(normal(60, 2 * k, 16), normal(60, 2 * k + 1, 16)) for k in range(40)]
    kernels = torch.tensor([fidelity.kernel_distance(a, b, subsets=1)[0] for a, b in sets])
    assert abs(kernels.mean()) < 3 * kernels.std() / 40**0.5
    assert min(fidelity.frechet_distance(a, b) for a, b in sets) > 1
    assert fidelity.kernel_distance(sets[0][0], 1 + sets[0][1], subsets=1)[0] > 10 * kernels.abs().max()


def test_pictures_are_told_apart_by_the_released_trunk():
    faces = drawn.faces(24, 64).images
    noise = torch.rand(faces.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    first, second, other = (fidelity.gather_features(one.split(5)) for one in (faces[:12], faces[12:], noise[:12]))
    assert first.shape == (12, 192)
    assert first.dtype == torch.float64
    assert fidelity.kernel_distance(first, second)[0] < fidelity.kernel_distance(first, other)[0]
    assert fidelity.frechet_distance(first, second) < fidelity.frechet_distance(first, other)
    with pytest.raises(ValueError, match="1 and 12 pictures: a distribution needs two"):
        fidelity.frechet_distance(first[:1], second)


def test_precision_and_recall_are_the_shares_within_reach_of_neighbours():
    """Of six drawn points four are among two of four true ones, and two far off; each reaches to its neighbour."""
    true = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    drawn = torch.tensor([[0.0], [1.0], [0.5], [0.7], [100.0], [100.1]])
    assert fidelity.precision_recall(drawn, true, neighbours=1) == (4 / 6, 2 / 4)
    assert fidelity.precision_recall(true, drawn, neighbours=1) == (2 / 4, 4 / 6)
    a, b = normal(500, 0), normal(500, 1)
    assert min(fidelity.precision_recall(a, b)) > 0.8
    narrow = fidelity.precision_recall(0.2 * a, b)
    assert narrow[0] > 0.95
    assert narrow[1] < 0.3, "truncation: fine pictures, little variety"
    with pytest.raises(ValueError, match="3 and 500 pictures: each set needs more than 3"):
        fidelity.precision_recall(a[:3], b)
