"""How steady swapped clips are, on clips whose unsteadiness is known."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import interpolate

from swaplib.metrics import temporal


@pytest.fixture
def truths() -> torch.Tensor:
    """A smooth texture that moves two pixels a frame to the right, (5, 3, 48, 48)."""
    coarse = torch.rand(1, 3, 10, 10, generator=torch.Generator().manual_seed(0)) * 2 - 1
    wide = interpolate(coarse, (80, 80), mode="bicubic").clamp(-1, 1)
    return torch.cat([wide[:, :, 16:64, 24 - 2 * t : 72 - 2 * t] for t in range(5)])


def test_perfect_swaps_and_steady_errors_do_not_flicker(truths):
    assert torch.equal(temporal.measure_flicker(truths, truths), torch.zeros(4))
    torch.testing.assert_close(
        temporal.measure_flicker(truths * 0.5 + 0.2, truths * 0.5), torch.zeros(4), atol=1e-6, rtol=0
    )


def test_flicker_is_how_much_the_error_changes(truths):
    swaps = truths * 0.5
    swaps[1::2] += 0.2  # 0.1 of a range of 1, in every other frame
    torch.testing.assert_close(temporal.measure_flicker(swaps, truths * 0.5), torch.full((4,), 0.1))
    half = torch.zeros(5, 48, 48)
    half[:, :, :24] = 1
    swaps[:, :, :, 24:] = 0.5
    torch.testing.assert_close(temporal.measure_flicker(swaps, truths * 0.5, half), torch.full((4,), 0.1))


def test_what_moves_with_the_target_is_no_warping_error(truths):
    moving, still = temporal.measure_warping(-truths, truths), temporal.measure_warping(truths[[0] * 5], truths)
    assert moving.max() < 0.01
    assert still.min() > 3 * moving.max()


def test_noise_is_a_warping_error(truths):
    noise = 0.2 * torch.randn(truths.shape, generator=torch.Generator().manual_seed(1))
    steady, noisy = temporal.measure_warping(truths, truths), temporal.measure_warping(truths * 0.7 + noise, truths)
    assert noisy.min() > 0.05
    assert steady.max() < 0.01


def test_pixels_that_the_flow_cannot_explain_do_not_count(truths):
    lit = truths * 0.4
    lit[3:, :, :, :24] += 0.5  # a lamp goes on in the target, and in the swap
    assert temporal.measure_warping(lit, lit).max() < 0.01
    weight = torch.zeros(5, 48, 48)
    weight[:, 8:40, 8:40] = 1
    assert temporal.measure_warping(-truths, truths, weight).isfinite().all()


def test_clips_must_match(truths):
    with pytest.raises(ValueError, match="can't be compared"):
        temporal.measure_flicker(truths, truths[:4])
    with pytest.raises(ValueError, match="two or more"):
        temporal.measure_warping(truths[:1], truths[:1])
