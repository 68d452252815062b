"""Interpolating, editing, and swapping two photographs."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import drawn
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from swaplib import families, latent, photos, synthetic
from swaplib.faces import Faces, to_uint8
from swaplib.families import Family, Part
from swaplib.photos import PhotoError, blending

LANDMARKS = families.load("landmarks")


@dataclass(frozen=True)
class _Size:
    size: int = 64


class _Every(Family):
    """A family with a part of every geometry."""

    name = "every"
    Config = _Size
    swap_parts = ("line",)
    parts = (Part("line", (4,)), Part("ball", (2, 3), "sphere"), Part("map", (4, 4), "labels"),
             Part("picture", (3, 64, 64), "image"))  # fmt: skip

    def encode(self, faces: Faces):
        draw = torch.Generator().manual_seed(int(faces.identity[0]))
        ball = torch.nn.functional.normalize(torch.randn(len(faces), 2, 3, generator=draw), dim=-1)
        labels = torch.randint(0, 19, (len(faces), 4, 4), generator=draw)
        line = torch.randn(len(faces), 4, generator=draw)
        return {"line": line, "ball": ball, "map": labels, "picture": faces.images}

    def decode(self, codes):
        return codes["picture"]


EVERY = _Every(_Size())


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return data.astronaut()


# ---------------------------------------------------------------------------------------------- tuning


def test_tuning_to_some_faces_shows_them_better_and_leaves_the_family_alone():
    family = families.load("rsgan", "smoke")
    faces = drawn.faces(6, family.config.size, seed=5)
    before = {name: value.clone() for name, value in family.state_dict().items()}
    tuned = latent.tune(family, faces, steps=30, seed=1, progress=False)
    assert all(torch.equal(value, before[name]) for name, value in family.state_dict().items())
    codes, same = family.encode(faces), tuned.encode(faces)
    assert all(torch.equal(codes[name], same[name]) for name in codes)
    with torch.no_grad():
        errors = [(one.decode(codes) - faces.images).abs().mean() for one in (family, tuned)]
    assert errors[1] < 0.8 * errors[0]
    assert not any(parameter.requires_grad for parameter in tuned.parameters())
    again = latent.tune(family, faces, steps=30, seed=1, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(tuned.state_dict().values(), again.state_dict().values(), strict=True))


def test_what_has_nothing_to_tune_says_so():
    with pytest.raises(ValueError, match="landmarks has nothing that could be tuned"):
        latent.tune(LANDMARKS, drawn.faces(1))


@pytest.mark.parametrize(("pixels", "together"), [(3, 3), (64, 4)])
def test_large_pictures_are_tuned_a_few_at_a_time(pixels, together, monkeypatch):
    family, seen = families.build("rsgan", "smoke").eval(), []
    size = family.config.size
    monkeypatch.setattr("swaplib.training.model.AT_ONCE", pixels * size**2)
    monkeypatch.setattr(family, "tuning_loss", lambda shown, wanted: seen.append(len(shown)) or (shown - wanted).mean())
    latent.tune(family, drawn.faces(5, size), steps=2, progress=False)
    assert seen == [together, together]


# ---------------------------------------------------------------------------------------------- paths


def test_a_path_goes_from_the_target_to_the_source():
    source, target = drawn.faces(2, 64, 1), drawn.faces(2, 64, 2)
    path = latent.interpolate(LANDMARKS, source, target, steps=5)
    assert path.shape == (5, 2, 3, 64, 64)
    assert torch.equal(path[0], LANDMARKS.decode(LANDMARKS.encode(target)))
    assert torch.equal(path[-1], LANDMARKS.decode(LANDMARKS.encode(source)))
    assert torch.isfinite(path).all()
    left = [(step - path[-1]).abs().mean().item() for step in path]
    assert all(a > b for a, b in pairwise(left))


def test_a_path_over_some_parts_ends_at_that_swap():
    source, target = drawn.faces(1, 64, 1), drawn.faces(1, 64, 2)
    path = latent.interpolate(LANDMARKS, source, target, 3, parts=LANDMARKS.swap_parts)
    assert torch.equal(path[-1], LANDMARKS.swap(source, target))
    halfway = LANDMARKS.swap(source, target, dict.fromkeys(LANDMARKS.swap_parts, 0.5))
    assert torch.equal(path[1], halfway)


def test_paths_refuse_unknown_parts_and_single_steps():
    face = drawn.faces(1, 64)
    with pytest.raises(ValueError, match="landmarks has no part 'chin'"):
        latent.interpolate(LANDMARKS, face, face, 3, parts=["chin"])
    with pytest.raises(ValueError, match="1 steps: a path needs"):
        latent.interpolate(LANDMARKS, face, face, 1)


# ---------------------------------------------------------------------------------------------- edits


@given(st.floats(-20, 20, width=32))
def test_edits_stay_in_each_geometry(strength):
    codes = EVERY.encode(drawn.faces(2, 64))
    directions = {"line": torch.ones(4), "ball": torch.ones(2, 3), "picture": torch.ones(3, 64, 64)}
    edited = latent.edit(EVERY, codes, directions, strength)
    torch.testing.assert_close(edited["line"], codes["line"] + strength)
    torch.testing.assert_close(edited["ball"].norm(dim=-1), torch.ones(2, 2), atol=1e-5, rtol=0)
    assert edited["picture"].abs().max() <= 1
    assert edited["map"] is codes["map"]


def test_strengths_may_differ_by_face_and_by_part():
    codes = EVERY.encode(drawn.faces(2, 64))
    directions = {"line": torch.ones(4), "ball": torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0))}
    edited = latent.edit(EVERY, codes, directions, {"line": torch.tensor([0.0, 2.0]), "ball": 0.0})
    assert torch.equal(edited["line"][0], codes["line"][0])
    assert torch.equal(edited["line"][1], codes["line"][1] + 2)
    torch.testing.assert_close(edited["ball"], codes["ball"])


def test_a_strong_edit_on_the_sphere_arrives_at_its_direction():
    codes = EVERY.encode(drawn.faces(1, 64))
    pole = torch.tensor([[0.0, 0, 1], [1, 0, 0]])
    torch.testing.assert_close(latent.edit(EVERY, codes, {"ball": pole}, 1e6)["ball"][0], pole)


def test_edits_refuse_what_they_cannot_do():
    codes = EVERY.encode(drawn.faces(1, 64))
    with pytest.raises(ValueError, match="every has no part 'chin': its parts are line, ball"):
        latent.edit(EVERY, codes, {"chin": torch.ones(4)})
    with pytest.raises(ValueError, match="'map' holds integer labels"):
        latent.edit(EVERY, codes, {"map": torch.ones(4, 4)})
    with pytest.raises(ValueError, match=r"direction for 'line' is \(5,\), not \(4,\)"):
        latent.edit(EVERY, codes, {"line": torch.ones(5)})


# ---------------------------------------------------------------------------------------------- photographs


def test_the_target_put_into_a_photograph_is_the_photograph(astronaut):
    photo, notes = latent.swap_photographs(families.load("target"), astronaut[:, ::-1], astronaut)
    assert np.array_equal(photo, astronaut)
    assert notes == []


def test_a_swapped_photograph_changes_in_the_face_alone(astronaut, tmp_path):
    path = tmp_path / "source.png"
    Image.fromarray(astronaut[:, ::-1]).save(path)
    photo, _ = latent.swap_photographs(LANDMARKS, path, astronaut)
    assert photo.shape == astronaut.shape
    assert photo.dtype == np.uint8
    rows, columns = np.nonzero((photo != astronaut).any(-1))
    assert 0.005 < len(rows) / photo[..., 0].size < 0.1
    assert 60 < rows.min() < rows.max() < 190  # the astronaut's face
    assert 160 < columns.min() < columns.max() < 290


def test_several_faces_are_noted_and_one_can_be_chosen(astronaut):
    group = np.concatenate((astronaut[:256, 96:352], astronaut[:256, 96:352][:, ::-1]), 1)
    left, notes = latent.swap_photographs(LANDMARKS, astronaut, group, target_face=(100, 120))
    assert any(note.startswith("target: 2 faces found") for note in notes)
    changed = (left != group).any(-1)
    assert changed[:, :256].sum() > 500
    assert changed[:, 256:].sum() == 0


def test_a_face_is_chosen_by_another_photograph_of_it(astronaut):
    single, mirrored = astronaut[:256, 96:352], astronaut[:256, 96:352][:, ::-1]
    other = to_uint8(synthetic.render_faces(1, seed=3, size=256).images)[0]
    group = np.concatenate((other, single), 1)
    swapped, _ = latent.swap_photographs(LANDMARKS, other, group, target_face=mirrored)
    changed = (swapped != group).any(-1)
    assert changed[:, 256:].sum() > 500
    assert changed[:, :256].sum() == 0
    with pytest.raises(PhotoError, match="nobody in it looks like the chosen face"):
        latent.swap_photographs(LANDMARKS, other, astronaut, target_face=other)


def test_all_faces_are_swapped_with_one_source_or_each_with_its_own(astronaut):
    single = astronaut[:256, 96:352]
    group = np.concatenate((single, single[:, ::-1]), 1)
    one, notes = latent.swap_everyone(LANDMARKS, single, group)
    assert notes[-1] == "2 of 2 faces were swapped"
    assert all((one != group)[:, half].any(-1).sum() > 500 for half in (slice(256), slice(256, 512)))
    found = photos.detect(group)
    grey = np.repeat(single.mean(-1, keepdims=True), 3, 2).astype(np.uint8)
    both, _ = latent.swap_everyone(LANDMARKS, single, group, [grey])
    left = found[0].centre[0] < 256  # which half the first source goes to
    halves = [slice(256), slice(256, 512)] if left else [slice(256, 512), slice(256)]
    assert np.array_equal(both[:, halves[0]], one[:, halves[0]])
    assert (both != one)[:, halves[1]].any(-1).sum() > 500


def test_a_targets_transparency_is_kept(astronaut):
    alpha = np.full(astronaut.shape[:2], 255, np.uint8)
    alpha[:, :60] = 0
    clear = Image.fromarray(np.dstack([astronaut, alpha]))
    photo, notes = latent.swap_photographs(LANDMARKS, astronaut[:, ::-1], clear)
    assert np.array_equal(photo[..., 3], alpha)
    assert notes == ["target: its transparency was kept"]
    opaque, _ = latent.swap_photographs(LANDMARKS, astronaut[:, ::-1], astronaut)
    assert np.abs(photo[:, 60:, :3].astype(int) - opaque[:, 60:]).mean() < 0.1


def test_a_turned_photograph_is_swapped_and_stays_turned(astronaut):
    upright, _ = latent.swap_photographs(LANDMARKS, astronaut[:, ::-1], astronaut)
    turned, notes = latent.swap_photographs(LANDMARKS, astronaut[:, ::-1], np.rot90(astronaut).copy())
    assert notes == ["target: the face was found turned by 270°"]
    change = np.rot90(turned, -1).astype(int) - astronaut
    assert (np.abs(change).max(-1) > 3).sum() == pytest.approx((upright != astronaut).any(-1).sum(), rel=0.4)
    assert np.abs(np.rot90(turned, -1).astype(int) - upright).mean() < 1


def test_size_and_amounts_reach_the_family(astronaut):
    mirrored = astronaut[:, ::-1]
    plain, _ = latent.swap_photographs(LANDMARKS, mirrored, astronaut, size=96)
    none, _ = latent.swap_photographs(LANDMARKS, mirrored, astronaut, size=96, amounts={"texture": 0.0})
    change = [np.abs(photo.astype(int) - astronaut).mean() for photo in (plain, none)]
    assert change[1] < 0.3 * change[0]  # all that is left is the face's way through 96 pixels


def test_failures_name_the_photograph_and_the_remedy(astronaut, tmp_path):
    empty = np.full((200, 200, 3), 128, np.uint8)
    with pytest.raises(PhotoError, match=r"^source: no face found .*: use a photo"):
        latent.swap_photographs(LANDMARKS, empty, astronaut)
    with pytest.raises(PhotoError, match=r"^target: no face found"):
        latent.swap_photographs(LANDMARKS, astronaut, empty)
    with pytest.raises(PhotoError, match=r"^source: .*nowhere\.jpg"):
        latent.swap_photographs(LANDMARKS, tmp_path / "nowhere.jpg", astronaut)


def test_what_a_family_misses_is_a_photo_error(astronaut):
    class Needy(type(LANDMARKS)):
        def encode(self, faces):
            raise ValueError("needy needs faces.labels: parse the photographs first")

    with pytest.raises(PhotoError, match=r"landmarks can't swap these photographs: needy needs faces\.labels"):
        latent.swap_photographs(Needy(LANDMARKS.config), astronaut, astronaut)


def _photo_folder() -> Path:
    default = Path(latent.__file__).resolve().parents[2] / "shared" / "photos"
    return Path(os.environ.get("SWAPLIB_PHOTOS", default)) / "lfw" / "images"


@pytest.mark.skipif(not _photo_folder().is_dir(), reason="no photographs: set SWAPLIB_PHOTOS to their folder")
def test_random_photographs_swap():
    files = sorted(_photo_folder().glob("*/*.jpg"))
    pairs = np.random.default_rng(1).integers(0, len(files), (30, 2))
    done = 0
    for a, b in pairs:
        try:
            photo, _ = latent.swap_photographs(LANDMARKS, files[a], files[b])
            done += photo.shape == (250, 250, 3)
        except PhotoError as error:
            assert ": use " in str(error)  # noqa: PT017 (one in a hundred may fail, with a sentence)
    assert done >= 29


# ---------------------------------------------------------------------------------------------- stitching


def test_stitching_keeps_the_target_outside_the_hull():
    source, target = drawn.faces(2, 32, 1), drawn.faces(2, 32, 2)
    family = families.build("rsgan", "smoke").eval()
    stitched = latent.Stitched(family)
    images = stitched.swap(source, target)
    hull = photos.rsgan_mask(target.landmarks, 32, 0)
    outside = ~hull[:, None].expand_as(images)
    assert torch.equal(images[outside], target.images[outside])
    assert (images - target.images).abs().mean() > 0.01
    assert torch.equal(images, blending.gradient_domain(family.swap(source, target), target.images, hull))
    with pytest.raises(ValueError, match=r"needs faces\.landmarks"):
        stitched.swap(source, replace(target, landmarks=None))


def test_a_stitched_family_is_otherwise_the_family():
    faces = drawn.faces(2, 32, 1)
    family = families.build("rsgan", "smoke").eval()
    stitched = latent.Stitched(family)
    assert stitched.name == f"{family.name}-gd"
    ours, theirs = stitched.encode(faces), family.encode(faces)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert torch.equal(stitched.decode(ours), family.decode(theirs))
    assert torch.equal(stitched.sample(1, 3)["hair"], family.sample(1, 3)["hair"])
    trained = families.load("rsgan", "smoke")
    assert list(latent.Stitched(trained).directions()) == list(trained.directions()) != []


def test_faces_of_any_size_are_swapped_at_the_targets():
    source, target = drawn.faces(2, 48, 1), drawn.faces(2, 64, 2)
    family = families.build("rsgan", "smoke").eval()
    images = latent.swap(family, source, target)
    assert images.shape == target.images.shape
    small = Faces(images).resize(32).images
    assert (small - family.swap(source.resize(32), target.resize(32))).abs().mean() < 0.02
    same = latent.swap(LANDMARKS, target, target)
    assert torch.equal(same, LANDMARKS.swap(target, target))


def test_a_wrapped_family_may_take_other_parts():
    family = families.load("mask_guided", "smoke")
    faces = drawn.faces(4, family.config.size, 0)
    source, target = faces[:2], faces[2:]
    plus = latent.Wrapped(family, "plus", family.swap_plus)
    taken = family.swap(source, target, dict.fromkeys(family.swap_plus, 1.0))
    assert torch.equal(plus.swap(source, target), taken)
    assert not torch.equal(plus.swap(source, target), family.swap(source, target))
    assert torch.equal(plus.swap(source, target, {}), family.swap(source, target, {}))


def test_a_driven_familys_sources_are_driven_first():
    class Mirror:
        name = "mirror"

        def drive(self, source, driver):
            assert driver is target
            return source.mirror()

    source, target = drawn.faces(2, 32, 1), drawn.faces(2, 32, 2)
    family = families.build("rsgan", "smoke").eval()
    driven = latent.Driven(family, Mirror())
    assert driven.name == f"{family.name}-mirror"
    assert torch.equal(driven.swap(source, target), family.swap(source.mirror(), target))
    stitched = latent.Stitched(driven)
    assert stitched.swap(source, target).shape == (2, 3, 32, 32)
    assert driven.state_dict().keys() == {f"family.{name}" for name in family.state_dict()}


def test_a_family_shown_the_true_swap_draws_it_from_its_codes():
    faces = synthetic.render_faces(4, seed=3, size=64).resize(32)
    source, target = faces[:2], faces[2:]
    family = families.build("rsgan", "smoke").eval()
    shown = latent.Shown(family)
    with torch.no_grad():
        wanted = family.decode(family.encode(synthetic.true_swap(source, target)))
    assert torch.equal(shown.swap(source, target), wanted)
    assert shown.moved == ()
    assert shown.known_only
    with pytest.raises(ValueError, match="rendered"):
        shown.swap(drawn.faces(2, 32, 1), target)


def test_the_same_pairs_in_several_ways():
    family = families.load("e4s", "smoke")
    source, target = drawn.faces(3, size=64), drawn.faces(3, size=64, seed=1)
    name = family.swap_parts[0]
    ways = {"all": None, "none": {}, "half": {name: 0.5}}
    found = latent.swap_each(family, source, target, ways, 1024)
    size = family.config.size
    mine, theirs = source.resize(size), target.resize(size)
    for way, amounts in ways.items():
        torch.testing.assert_close(found[way], family.swap(mine, theirs, amounts), atol=1e-4, rtol=0)
    small = latent.swap_each(family, source, target, {"all": None}, 16)["all"]
    assert small.shape[-2:] == (16, 16)
    torch.testing.assert_close(small, Faces(found["all"]).resize(16).images, atol=1e-4, rtol=0)
    codes = latent.encode(family, source)
    whole, kept = latent.decode(family, codes), latent.decode(family, codes, largest=16)
    assert torch.equal(kept, Faces(whole).resize(16).images)
    assert torch.equal(latent.decode(family, codes, largest=1024), whole)


LARGE = """
import resource, torch
from swaplib import latent
from swaplib.faces import Faces
from swaplib.families import Codes, Family, Part
from dataclasses import dataclass

@dataclass(frozen=True)
class Config:
    size: int = 1024

class Large(Family):
    name, Config, swap_parts, parts = "large", Config, ("a",), (Part("a", (3,)),)
    def encode(self, faces):
        assert faces.size == (1024, 1024)
        return {"a": faces.images.mean((2, 3))}
    def decode(self, codes):
        return codes["a"][:, :, None, None].expand(-1, -1, 1024, 1024).contiguous()

faces = Faces(torch.zeros(48, 3, 64, 64))
latent.swap_each(Large(Config()), faces[:1], faces[1:2], {0: None})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
latent.swap_each(Large(Config()), faces[:24], faces[24:], {k: {"a": k / 4} for k in range(5)})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_the_number_of_large_pairs():
    """24 pairs in 5 ways at 1024 px are 1.5 GB of pictures; kept at 128 px they are 24 MB."""
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 250_000, "kilobytes"
