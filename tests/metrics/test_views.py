"""How well views fit together, on heads that the renderer turns and whose depth is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from swaplib import synthetic
from swaplib.generators.stylenerf import turn_heads, view
from swaplib.metrics import face_region, views
from swaplib.networks.cameras import look_from


@pytest.fixture(scope="module")
def turning():
    """One head from three sides: pictures, depths, cameras, and where its face is."""
    factors = synthetic.sample_factors(1, seed=3)
    factors = turn_heads(
        {group: values.repeat(3, 1) for group, values in factors.items()}, torch.tensor([-20.0, 0, 20])
    )
    faces = synthetic.render(factors, 64, supersample=1)
    return faces.images, views.know_depth(factors, 64), view(factors), face_region(faces.labels).float()


def test_known_depth_is_that_of_the_surface(turning):
    _, depths, cameras, face = turning
    assert depths.shape == (3, 64, 64)
    assert depths[1, 0, 0].isinf(), "nothing in the corner"
    assert (depths[face > 0] - 1).abs().max() < 0.15, "a face lies about as far away as the camera stands"
    points = views.locate_points(depths, cameras)
    there = points[1].unflatten(0, (64, 64))[face[1] > 0]
    seen = cameras[slice(0, 1)].project(there[None], 64)[0]  # by the camera at the side
    inside = face[0][seen[:, 1].round().long().clamp(0, 63), seen[:, 0].round().long().clamp(0, 63)]
    assert inside.mean() > 0.75, "most of the face is still face there; the rest has turned away"


def test_a_head_that_turns_is_no_warping_error_and_one_that_stays_is(turning):
    images, depths, cameras, face = turning
    turned = views.measure_view_warping(images, depths, cameras, face)
    stayed = views.measure_view_warping(images[[1, 1, 1]], depths, cameras, face)
    assert turned.shape == (2,)
    assert turned.max() < 0.6 * stayed.min()


def test_a_painted_surface_fits_exactly_and_what_is_hidden_does_not_count():
    """A wall at distance 1, whose colour is its own height and width, and a screen before half of it."""
    cameras = look_from(torch.tensor([0.0, 6.0]), angle=20.0)
    places, rays = cameras.places, cameras.rays(views.grid(48))
    depths = (-places[:, None, 0] / rays[..., 0]).unflatten(1, (48, 48))  # the plane x = 0
    points = views.locate_points(depths, cameras)
    torch.testing.assert_close(points[..., 0], torch.zeros(2, 48 * 48), atol=1e-6, rtol=0)
    images = (points * 3)[..., [1, 2, 2]].unflatten(1, (48, 48)).movedim(-1, 1)
    assert views.measure_view_warping(images, depths, cameras).max() < 1e-4
    hidden, painted = depths.clone(), images.clone()
    hidden[0, :, 24:], painted[0, :, :, 24:] = 0.5, 1.0
    assert views.measure_view_warping(painted, hidden, cameras).max() < 0.01
    assert views.measure_view_warping(painted, depths, cameras).min() > 0.1
    assert views.measure_view_warping(images, depths, cameras, torch.zeros(2, 48, 48)).isnan().all()


def test_one_person_from_three_sides_is_told_from_three_people():
    factors = synthetic.sample_factors(3, seed=8)
    truths = [synthetic.render(turn_heads(factors, yaw), 64, supersample=1) for yaw in (-15, 0, 15)]
    pictures = [one.images for one in truths]
    same = views.score_views(pictures, truths)
    assert same["codes"].shape == (3, 3, 128)
    mixed = [one.roll(k, 0) for k, one in enumerate(pictures)]  # each view shows somebody else
    other = views.score_views(mixed, truths)
    assert same["spread"].shape == same["warping"].shape == (3,)
    assert (same["spread"] < other["spread"]).all()
    assert (2 * same["warping"] < other["warping"]).all()
    two = same["codes"][:, 0]
    apart = (two[:, None] - two).square().sum(-1).sum() / 6  # of the six ordered pairs of different views
    torch.testing.assert_close(2 * same["spread"][0] * 3 / 2, apart)
    with pytest.raises(ValueError, match="what is known of rendered faces"):
        views.score_views(pictures, [replace(one, factors=None) for one in truths])


def test_views_must_match(turning):
    images, depths, cameras, _ = turning
    for wrong in ((images[:1], depths[:1], cameras[slice(0, 1)]), (images, depths[:2], cameras),
                  (images, depths[..., :32], cameras), (images, depths, cameras[slice(0, 2)])):  # fmt: skip
        with pytest.raises(ValueError, match="don't fit: give the same views, two or more"):
            views.measure_view_warping(*wrong)
