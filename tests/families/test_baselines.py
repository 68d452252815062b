"""The two answers that every learned system has to beat, and the blending beneath the second."""

from __future__ import annotations

from dataclasses import replace

import drawn
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from swaplib import families, photos
from swaplib.faces import Faces
from swaplib.photos.blending import gradient_domain, membrane

LANDMARKS = families.load("landmarks")
SMOKE = families.load("landmarks", "smoke")


def _psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10(((a - b) / 2).pow(2).mean()))


def _moved(faces: Faces, change) -> Faces:
    return replace(faces, landmarks=change(faces.landmarks.clone()))


def test_target_returns_the_target():
    source, target = drawn.faces(2, 40, 1), drawn.faces(2, 40, 2)
    assert torch.equal(families.load("target").swap(source, target), target.images)


@pytest.mark.parametrize(("size", "least"), [(32, 30), (64, 32), (128, 35), (200, 38)])
def test_decoding_a_code_gives_the_picture_back(size, least):
    faces = drawn.faces(3, size)
    assert _psnr(LANDMARKS.decode(LANDMARKS.encode(faces)), faces.images) > least


def test_a_photograph_survives_the_two_warps():
    face = photos.prepare(data.astronaut(), "ffhq", 256).faces
    assert _psnr(LANDMARKS.decode(LANDMARKS.encode(face)), face.images) > 40


def test_the_surround_stays_bit_for_bit_and_the_face_changes():
    source, target = drawn.faces(3, 96, 1), drawn.faces(3, 96, 2)
    swapped = LANDMARKS.swap(source, target)
    changed = (swapped != target.images).any(1)
    for k in range(3):
        low, high = target.landmarks[k].amin(0), target.landmarks[k].amax(0)
        rows, columns = changed[k].nonzero(as_tuple=True)
        assert rows.min() >= low[1] - 0.25 * (high - low)[1]  # the forehead
        assert rows.max() <= high[1] + 1
        assert columns.min() >= low[0] - 1
        assert columns.max() <= high[0] + 1
        assert changed[k].float().mean() > 0.05


def test_features_come_from_the_source_and_lie_at_the_targets_place():
    """A mark painted on the source's nose shows at the target's nose."""
    source, target = drawn.faces(1, 128, 1), drawn.faces(1, 128, 2)
    plain = LANDMARKS.swap(source, target)
    x, y = source.landmarks[0, 30].round().int().tolist()
    painted = source.images.clone()
    painted[:, :, y - 3 : y + 4, x - 3 : x + 4] = torch.tensor([-1.0, 1, -1]).reshape(1, 3, 1, 1)
    difference = (LANDMARKS.swap(replace(source, images=painted), target) - plain)[0, 1]
    rows, columns = (difference > 0.5 * difference.max()).nonzero(as_tuple=True)
    centre = torch.stack((columns.float().mean(), rows.float().mean()))
    assert (centre - target.landmarks[0, 30]).norm() < 2


def test_colours_follow_the_target():
    source, target = drawn.faces(1, 96, 1), drawn.faces(1, 96, 2)
    source = replace(source, images=(source.images * 0.4 - 0.5).clamp(-1, 1))
    target = replace(target, images=(target.images * 0.4 + 0.4).clamp(-1, 1))
    cheek = np.s_[0, :, 52:58, 32:38]
    swapped = LANDMARKS.swap(source, target)[cheek].mean()
    assert abs(swapped - target.images[cheek].mean()) < 0.2 * abs(
        source.images[cheek].mean() - target.images[cheek].mean()
    )


def test_the_mouth_stays_the_targets_unless_asked():
    source, target = drawn.faces(1, 128, 1), drawn.faces(1, 128, 2)
    black = torch.full_like(source.images, -1)
    painted = replace(source, images=torch.where((source.labels == 10)[:, None], -black, source.images))
    x, y = target.landmarks[0, [62, 66]].mean(0).round().int().tolist()
    plain = LANDMARKS.swap(painted, target)[0, :, y, x]
    taken = LANDMARKS.swap(painted, target, {"texture": 1.0, "mouth": 1.0})[0, :, y, x]
    assert plain.max() < 0
    assert taken.min() > 0.5


def test_a_turned_heads_hidden_side_is_taken_from_the_other():
    """With one half squeezed to a tenth, its texture is nearly the mirror image of the other half."""
    face = drawn.faces(1, 128, 3)
    middle = face.landmarks[0, 30, 0]

    def squeeze(points):
        right = points[..., 0] > middle
        points[..., 0] = torch.where(right, middle + 0.1 * (points[..., 0] - middle), points[..., 0])
        return points

    texture = LANDMARKS.encode(_moved(face, squeeze))["texture"][0]
    inner = texture[:, 150:330, 60:324]
    turned = (inner - inner.flip(-1)).abs().mean()
    inner = LANDMARKS.encode(face)["texture"][0][:, 150:330, 60:324]
    frontal = (inner - inner.flip(-1)).abs().mean()
    assert turned < 0.5 * frontal


def test_missing_landmarks_and_small_pictures_are_refused():
    faces = drawn.faces(2, 64)
    with pytest.raises(ValueError, match=r"needs faces\.landmarks"):
        SMOKE.encode(replace(faces, landmarks=None))
    with pytest.raises(ValueError, match="not finite"):
        SMOKE.encode(_moved(faces, lambda points: points * torch.nan))
    with pytest.raises(ValueError, match="too small: give at least 32 pixels"):
        SMOKE.encode(faces.resize(24))


_CHANGES = {
    "at one point": lambda points: points * 0 + 10,
    "on one line": lambda points: points * torch.tensor([1.0, 0.0]),
    "outside": lambda points: points + 500,
    "far outside": lambda points: points * 1e6,
    "across the border": lambda points: points - 30,
    "huge": lambda points: (points - 32) * 8 + 32,
    "tiny": lambda points: (points - 32) * 0.02 + 32,
    "mirrored": lambda points: torch.stack((64 - points[..., 0], points[..., 1]), -1),
    "upside down": lambda points: 64 - points,
}


@pytest.mark.parametrize("name", _CHANGES)
def test_odd_landmarks_give_a_picture(name):
    odd, plain = _moved(drawn.faces(2, 64, 1), _CHANGES[name]), drawn.faces(2, 64, 2)
    for source, target in ((odd, plain), (plain, odd), (odd, odd)):
        swapped = SMOKE.swap(source, target)
        assert torch.isfinite(swapped).all()
        assert swapped.abs().max() <= 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(32, 90), st.integers(32, 90), st.floats(0.1, 60))
def test_any_landmarks_and_sizes_give_a_picture(seed, height, width, spread):
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(1, 3, height, width, generator=draw) * 2 - 1
    points = torch.randn(2, 1, 68, 2, generator=draw) * spread + 30
    swapped = SMOKE.swap(Faces(images, landmarks=points[0]), Faces(images.flip(-1), landmarks=points[1]))
    assert swapped.shape == images.shape
    assert torch.isfinite(swapped).all()
    assert swapped.abs().max() <= 1


# ---------------------------------------------------------------------------------------------- blending


def _disc(height: int, width: int, radius: float) -> np.ndarray:
    y, x = np.indices((height, width))
    return (x - width / 2) ** 2 + (y - height / 2) ** 2 < radius**2


@pytest.mark.parametrize("size", [20, 61, 128])
def test_the_membrane_continues_harmonic_functions(size):
    """x, y and xy are harmonic, so the membrane finds them again from their rim."""
    y, x = np.indices((size, size)) / size
    wanted = np.stack((x, y, x * y), -1)
    mask = _disc(size, size, 0.42 * size)
    found = membrane(np.where(mask[..., None], 0, wanted), mask)
    assert np.abs(found - wanted)[mask].max() < 0.02
    assert np.all(found[~mask] == 0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 50), st.integers(1, 50), st.floats(0, 1))
def test_the_membrane_keeps_to_the_heights_of_its_rim(seed, height, width, share):
    rng = np.random.default_rng(seed)
    mask, values = rng.random((height, width)) < share, rng.uniform(0.5, 1, (height, width, 2))
    found = membrane(values, mask)
    assert found.shape == values.shape
    assert found.min() >= -1e-3
    assert found.max() <= 1 + 1e-3
    assert np.all(found[~mask] == 0)


def test_blending_keeps_gradients_and_closes_the_seam():
    """A picture shifted in brightness is blended in without any trace of the shift."""
    background = drawn.faces(2, 64).images * 0.6
    mask = torch.from_numpy(_disc(64, 64, 20)).expand(2, -1, -1)
    blended = gradient_domain(background + 0.3, background, mask)
    torch.testing.assert_close(blended, background, atol=5e-3, rtol=0)


def test_blending_leaves_the_outside_alone_bit_for_bit():
    front, back = drawn.faces(2, 64, 1).images, drawn.faces(2, 64, 2).images
    mask = torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(0)) < 0.5
    outside = ~mask[:, None].expand_as(back)
    assert torch.equal(gradient_domain(front, back, mask)[outside], back[outside])


def test_blending_with_an_empty_and_a_full_mask():
    front, back = drawn.faces(1, 33, 1).images, drawn.faces(1, 33, 2).images
    assert torch.equal(gradient_domain(front, back, torch.zeros(1, 33, 33, dtype=bool)), back)
    assert torch.equal(gradient_domain(front, back, torch.ones(1, 33, 33, dtype=bool)), front)


def test_blending_refuses_pictures_that_do_not_belong_together():
    front, back = drawn.faces(1, 33).images, drawn.faces(1, 34).images
    with pytest.raises(ValueError, match="must belong together"):
        gradient_domain(front, back, torch.ones(1, 34, 34, dtype=bool))
