"""Who is who in a film: by synthetic descriptors, and in films of rendered people whose truth is known."""

from __future__ import annotations

from fractions import Fraction
from typing import ClassVar

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from swaplib import families, photos, synthetic, video
from swaplib.faces import to_uint8
from swaplib.photos import Detection, PhotoError
from swaplib.video import files, people

STEP = Fraction(1, 10)


def code(number: int, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """The descriptor of person `number`: others are 0.85 away; noise: how far this one strays."""
    stray = np.random.default_rng(seed).normal(size=128)
    return np.eye(128)[number] * 0.6 + noise * stray / np.linalg.norm(stray)


def seen(x: float, y: float = 50, width: float = 20) -> Detection:
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 17), np.linspace(-1, 1, 4)), -1).reshape(68, 2)
    box = (x - width / 2, y - width / 2, x + width / 2, y + width / 2)
    return Detection(box, 1.0, grid * width / 2 + (x, y))


def film(*frames: list[tuple[float, int]]) -> tuple[list[list[Detection]], list[np.ndarray]]:
    """Faces and descriptors of frames that are lists of (x, person)."""
    faces = [[seen(x) for x, _ in frame] for frame in frames]
    codes = [
        np.stack([code(who, 0.15, 10 * t + k) for k, (_, who) in enumerate(frame)]) if frame else np.empty((0, 128))
        for t, frame in enumerate(frames)
    ]
    return faces, codes


def places(person: people.Person, count: int) -> list[float | None]:
    return [float(person.faces[t].centre[0]) if t in person.faces else None for t in range(count)]


def test_people_are_known_again_after_a_cut_on_the_other_side():
    found = video.tell_apart(*film(*[[(50, 0), (120, 1)]] * 6, *[[(50, 1), (120, 0)]] * 6))
    assert [places(person, 12) for person in found] == [[50] * 6 + [120] * 6, [120] * 6 + [50] * 6]


def test_two_who_pass_each_other_stay_themselves():
    path = [[(50 + 7 * t, 0), (120 - 7 * t, 1)] for t in range(11)]
    first, second = video.tell_apart(*film(*path))
    assert places(first, 11) == [frame[0][0] for frame in path]
    assert places(second, 11) == [frame[1][0] for frame in path]


def test_who_is_away_is_nobody_else():
    faces, codes = film(*[[(50, 0), (80, 1)]] * 6, *[[(78, 1)]] * 5, *[[(50, 0), (80, 1)]] * 6)
    bystander, away = video.tell_apart(faces, codes)
    assert places(away, 17) == [50] * 6 + [None] * 5 + [50] * 6
    assert places(bystander, 17) == [80] * 6 + [78] * 5 + [80] * 6


def test_two_at_once_are_two_however_alike():
    faces, codes = film(*[[(50, 0), (120, 0)]] * 6)
    assert [places(person, 6) for person in video.tell_apart(faces, codes)] == [[50] * 6, [120] * 6]
    assert video.tell_apart([[]], [np.empty((0, 128))]) == []


def test_one_of_them_is_chosen_by_number_place_or_likeness():
    found = video.tell_apart(*film([], *[[(50, 0), (120, 1)]] * 6, *[[(60, 2)]] * 2))
    shape = (100, 200)
    chosen = [people.choose(found, face, shape) for face in ("largest", 1, 2, "central", (45, 50))]
    assert [next(k for k, one in enumerate(found) if one is person) for person in chosen] == [0, 1, 2, 1, 0]
    assert people.choose(found, "largest", shape, code(2, 0.2)) is found[2]
    with pytest.raises(PhotoError, match="no person number 3 in the film: 3 found"):
        people.choose(found, 3, shape)
    with pytest.raises(PhotoError, match="nobody in the film looks like"):
        people.choose(found, 0, shape, code(9))
    times = [k * STEP for k in range(9)]
    assert len(people.lasting(found, times)) == 3
    assert len(people.lasting(found, [time / 2 for time in times])) == 2


def test_gaps_up_to_half_a_second_are_found():
    marks = np.stack([seen(50 + t).landmarks for t in range(20)])
    marks[[3, 4, 5]] = marks[[8, 9, 10, 11, 12, 13]] = marks[[0, 19]] = np.nan
    times = [k * STEP for k in range(20)]
    assert people.find_gaps(marks, times) == [slice(3, 6)]
    between = people.interpolate(marks, slice(3, 6), times)
    np.testing.assert_allclose(between.mean((1, 2)) * 2 - 50, [53, 54, 55])


# ---------------------------------------------------------------------------------------------- rendered people


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    """Two people, ten frames each, whom dlib tells apart."""
    return [to_uint8(synthetic.render_clip(2, seed=0, number=number, fps=5).images) for number in (0, 2)]


class Negative(families.kind("target")):
    """Shows where it swapped, and keeps what it was given."""

    given: ClassVar[list] = []

    def overlay(self, source, target, amounts=None, also=()):
        self.given[:] = [source, *also]
        return families.Overlay(-target.images)


def scene(clips, left: int | None, right: int | None, t: int) -> np.ndarray:
    """A frame with people, or nobody, on the left and on the right."""
    wall = np.full((128, 128, 3), 90, np.uint8)
    return np.concatenate([wall if who is None else clips[who][t % 10] for who in (left, right)], 1)


def swapped_sides(tmp_path, monkeypatch, frames, source=None, **options) -> tuple[list[str], list[str]]:
    """Swap in a film of scenes: which side was swapped in each frame ("", "l", "r", "lr"), and the notes."""
    files.write(tmp_path / "film.mp4", frames, 10)
    source = cv2.resize(frames[0][:, :128], (256, 256)) if source is None else source
    shown: list[np.ndarray] = []
    with monkeypatch.context() as patch:
        patch.setattr(files, "write", lambda out, pictures, *_: [shown.append(one.copy()) for one in pictures] and [])
        family = Negative(families.config("target", "smoke"))
        notes = video.swap(family, source, tmp_path / "film.mp4", tmp_path / "out.mp4", progress=False, **options)
    change = np.abs(np.stack(shown).astype(int) - np.stack(list(files.frames(tmp_path / "film.mp4")))).max(-1) > 8
    sides = [("l", change[:, :, :128]), ("r", change[:, :, 128:])]
    return ["".join(name for name, one in sides if one[t].sum() > 500) for t in range(len(frames))], notes


def test_the_same_person_is_swapped_before_and_after_a_cut_and_while_away_nobody(clips, tmp_path, monkeypatch):
    first = [scene(clips, 0, 1, t) for t in range(8)]
    away = [scene(clips, None, 1, t) for t in range(8, 13)]
    changed = [scene(clips, 1, 0, t) for t in range(13, 20)]
    frames = [*first, *away, *changed]
    (tmp_path / "zero.png").write_bytes(cv2.imencode(".png", cv2.resize(clips[0][5], (256, 256))[..., ::-1])[1])
    truth = ["l"] * 8 + [""] * 5 + ["r"] * 7
    sides, notes = swapped_sides(tmp_path, monkeypatch, frames, face=tmp_path / "zero.png")
    assert sides == truth
    assert notes[-1] == "15 of 20 frames show the face that was swapped"
    other = ["r"] * 13 + ["l"] * 7
    numbers = [swapped_sides(tmp_path, monkeypatch, frames, face=number)[0] for number in (0, 1)]
    assert sorted(numbers) == sorted([truth, other])
    assert swapped_sides(tmp_path, monkeypatch, frames, face="all")[0] == [
        "".join(sorted(one + two)) for one, two in zip(truth, other, strict=True)
    ]


def test_further_people_get_their_own_sources_and_the_rest_stays(clips, tmp_path, monkeypatch):
    frames = [scene(clips, 0, 1, t) for t in range(4)]
    other = cv2.resize(clips[1][2], (256, 256))
    sides, notes = swapped_sides(tmp_path, monkeypatch, frames, face="all", others=[other])
    assert sides == ["lr"] * 4
    assert "2 people are in the film, numbers 0, 1 were swapped: swaplib faces shows who is who" in notes
    (given,) = Negative.given
    assert len(given) == 8
    assert torch.equal(given.images[0], given.images[2])
    assert not torch.equal(given.images[0], given.images[1])
    swapped_sides(tmp_path, monkeypatch, frames, face=0, source=[other, clips[0][3]])
    assert [len(one) for one in Negative.given] == [4, 4]
    with pytest.raises(ValueError, match="photographs of others are for face 'all'"):
        swapped_sides(tmp_path, monkeypatch, frames, others=[other])


def test_a_face_is_followed_through_motion_blur_but_not_behind_a_wall(clips, tmp_path, monkeypatch):
    kernel = np.full((1, 45), 1 / 45)
    frames = [scene(clips, 0, None, t) for t in range(20)]
    for t in (4, 5, 12, 13, 14):
        frames[t] = cv2.filter2D(frames[t], -1, kernel)
    for t in (8, 9):
        frames[t] = scene(clips, None, None, t)
    assert len([t for t in range(20) if not photos.detect(frames[t])]) >= 6  # dlib loses it
    sides, notes = swapped_sides(tmp_path, monkeypatch, frames)
    assert sides == ["l"] * 8 + ["", ""] + ["l"] * 10
    assert any("followed where it is blurred" in note for note in notes)


def test_nobody_is_swapped_while_the_chosen_one_looks_away_and_another_stays(clips, tmp_path, monkeypatch):
    clip = synthetic.render_clip(2, seed=0, number=0, fps=5)
    factors = {group: values.clone() for group, values in clip.factors.items()}
    yaw = int((factors["pose"] == synthetic.column(factors, "pose", "yaw")[:, None]).all(0).nonzero()[0])
    factors["pose"][4:7, yaw] = torch.tensor([65.0, 75.0, 65.0])
    turned = to_uint8(synthetic.render(factors, 128).images)
    frames = [np.concatenate([left, right], 1) for left, right in zip(turned, clips[1], strict=True)]
    sides, _ = swapped_sides(tmp_path, monkeypatch, frames, face=(64, 64))
    assert sides == ["l"] * 4 + [""] * 3 + ["l"] * 3


def test_a_place_shows_the_same_face_blurred_and_a_wall_or_another_photograph_do_not(clips):
    frame = scene(clips, 0, 1, 0)
    marks, other = (face.landmarks for face in sorted(photos.detect(frame), key=lambda face: face.centre[0]))
    blurred = cv2.blur(frame, (51, 1))
    moved = people.find_again(np.roll(blurred, 6, 1), marks, frame, marks)
    np.testing.assert_allclose(moved - marks, np.tile([6, 0], (68, 1)), atol=3)
    for place in (scene(clips, None, 1, 0), cv2.resize(data.coffee(), (256, 128)), np.zeros_like(frame)):
        assert people.find_again(place, marks, frame, marks) is None
    assert people.find_again(frame, other, frame, marks) is None
