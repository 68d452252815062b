"""Swapping in videos: the face is followed and steadied, killed runs go on, files are read, written and marked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from making import make_film
from PIL import Image
from skimage import data

from swaplib import families, latent, video
from swaplib.faces import Faces
from swaplib.photos import Detection
from swaplib.video import files, looking

PHOTO = data.astronaut()[20:250]
BLANK = (5, 6)
FRAMES = [np.full((230, 260, 3), 90, np.uint8) if k in BLANK else PHOTO[:, 90 + 2 * k : 350 + 2 * k] for k in range(12)]
LANDMARKS = families.build("landmarks", "smoke").eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A photograph and a video of a face that passes by, and is hidden in two frames."""
    folder = tmp_path_factory.mktemp("videos")
    Image.fromarray(PHOTO[:, 300:20:-1]).save(folder / "source.png")
    files.write(folder / "target.mp4", FRAMES, 10)
    return folder


def swapped(folder: Path, out: Path, family=LANDMARKS, **options) -> list[str]:
    return video.swap(family, folder / "source.png", folder / "target.mp4", out, progress=False, **options)


def decoded(path: Path) -> np.ndarray:
    return np.stack(list(files.frames(path))).astype(int)


# ---------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("shape", [(48, 64, 3), (47, 33, 3)])
@pytest.mark.parametrize("pyav", [True, False])
def test_frames_come_back_as_they_were_written(tmp_path, monkeypatch, shape, pyav):
    if not pyav:
        monkeypatch.setattr(files, "av", None)
    columns = np.linspace(40, 200, shape[1])[None, :, None]
    frames = [np.broadcast_to(columns + 4 * k, shape).astype(np.uint8) for k in range(7)]
    assert files.write(tmp_path / "out.mp4", frames, 30000 / 1001, text="A test.") == []
    about = files.info(tmp_path / "out.mp4")
    assert (about.height, about.width) == (-(-shape[0] // 2) * 2, -(-shape[1] // 2) * 2)
    assert about.fps == pytest.approx(29.97, abs=0.01)
    found = decoded(tmp_path / "out.mp4")
    assert len(found) == about.count == 7
    assert np.abs(found[:, : shape[0], : shape[1]] - np.stack(frames)).mean() < 3
    mark = files.read_mark(tmp_path / "out.mp4")
    assert "compositeSynthetic" in mark
    assert "A test." in mark
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_videos_are_known_by_their_content(tmp_path, folder):
    (tmp_path / "unnamed").write_bytes((folder / "target.mp4").read_bytes())
    assert files.is_video(tmp_path / "unnamed")
    assert not files.is_video(folder / "source.png")
    assert files.is_video("lost.MOV")
    assert not files.is_video("lost.jpg")
    (tmp_path / "picture").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    assert not files.is_video(tmp_path / "picture")


def test_bad_videos_get_a_sentence(tmp_path, folder, capfd, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*lost\.mp4"):
        files.info(tmp_path / "lost.mp4")
    with monkeypatch.context() as patch:
        patch.setattr(files, "av", None)  # PyAV puts the index first, and a cut file can be read
        files.write(tmp_path / "whole.mp4", FRAMES, 10)
    whole = (tmp_path / "whole.mp4").read_bytes()
    writer = cv2.VideoWriter(str(tmp_path / "known.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(3):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    assert files.info(tmp_path / "known.avi").count == 3
    bad = {"words.mp4": b"no video" * 99, "cut.mp4": whole[: len(whole) // 3]}
    bad["codec.avi"] = (tmp_path / "known.avi").read_bytes().replace(b"MJPG", b"ZZZZ")
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        for pyav in (files.av, None):
            monkeypatch.setattr(files, "av", pyav)
            with pytest.raises(ValueError, match=rf"{name} is no video that can be read"):
                files.info(tmp_path / name)
            monkeypatch.undo()
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(ValueError, match=r"empty\.mp4 is empty \(0 bytes\): get a whole copy of it"):
        files.info(tmp_path / "empty.mp4")
    with pytest.raises(ValueError, match=r"https://example\.org/film\.mp4 is an address: download the film first"):
        files.info(Path("https://example.org/film.mp4"))
    assert capfd.readouterr().err == ""
    with pytest.raises(ValueError, match=r"out\.avi: videos are saved as \.mp4"):
        files.write(tmp_path / "out.avi", FRAMES, 10)
    with pytest.raises(ValueError, match="no frames to write"):
        files.write(tmp_path / "out.mp4", [], 10)
    assert files.read_mark(folder / "target.mp4")
    with pytest.raises(ValueError, match="no whole MP4"):
        files.read_mark(tmp_path / "words.mp4")


# ---------------------------------------------------------------------------------------------- following, smoothing


def seen(x: float, y: float = 50, width: float = 20) -> Detection:
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 17), np.linspace(-1, 1, 4)), -1).reshape(68, 2)
    box = (x - width / 2, y - width / 2, x + width / 2, y + width / 2)
    return Detection(box, 1.0, grid * width / 2 + (x, y))


@given(st.floats(-8, 8), st.floats(-8, 8), st.floats(0.5, 4), st.integers(1, 20))
@settings(max_examples=20)
def test_even_movement_is_not_held_back(x, y, sigma, count):
    marks = np.stack([seen(200 + x * k, 100 + y * k).landmarks for k in range(count)])
    np.testing.assert_allclose(video.smooth_landmarks(marks, sigma), marks, atol=1e-8)


def test_trembling_is_smoothed_away():
    still = np.stack([seen(50).landmarks] * 60)
    noisy = still + np.random.default_rng(0).normal(0, 1, still.shape)
    calm = video.smooth_landmarks(noisy, 2) - still
    assert calm.std() < 0.45
    assert calm[0].std() < 0.9  # the line at an end is less certain
    np.testing.assert_array_equal(video.smooth_landmarks(noisy, 0), noisy)


def test_nothing_is_smoothed_across_a_gap_or_a_cut():
    noisy = np.random.default_rng(1).normal(0, 0.3, (12, 68, 2)) + seen(50).landmarks
    noisy[5] = np.nan
    noisy[9:] += 40
    whole = video.smooth_landmarks(noisy, 1.5)
    assert np.isnan(whole[5]).all()
    for run in (slice(0, 5), slice(6, 9), slice(9, 12)):
        np.testing.assert_allclose(whole[run], video.smooth_landmarks(noisy[run], 1.5))


def test_a_small_jump_of_a_calm_face_is_a_cut_and_a_start_is_none():
    noisy = np.random.default_rng(1).normal(0, 0.1, (12, 68, 2)) + seen(50).landmarks
    noisy[6:] += 4  # a fifth of its width
    whole = video.smooth_landmarks(noisy, 1.5)
    for run in (slice(0, 6), slice(6, 12)):
        np.testing.assert_allclose(whole[run], video.smooth_landmarks(noisy[run], 1.5))
    moving = np.stack([seen(50 + max(0, k - 5) ** 2 / 2).landmarks for k in range(10)])
    assert np.abs(video.smooth_landmarks(moving, 1.5) - moving).max() < 1.5


# ---------------------------------------------------------------------------------------------- swapping


def test_a_face_is_swapped_where_it_is_seen_and_nothing_else(folder, tmp_path, monkeypatch):
    shown = []
    write = files.write
    monkeypatch.setattr(files, "write", lambda out, frames, *a, **k: write(out, keep(frames, shown), *a, **k))
    notes = swapped(folder, tmp_path / "out.mp4")
    assert notes[-1] == "10 of 12 frames show the face that was swapped"
    before = decoded(folder / "target.mp4")
    change = np.abs(np.stack(shown).astype(int) - before).max(-1)
    assert [k for k in range(12) if not change[k].any()] == list(BLANK)
    rest = np.delete(change, BLANK, 0)
    assert (rest[:, :, 215:] == 0).all()
    assert all((one > 8).sum() > 500 for one in rest)
    after = decoded(tmp_path / "out.mp4")
    assert after.shape == before.shape
    assert np.abs(after - np.stack(shown)).mean() < 4
    assert files.info(tmp_path / "out.mp4").fps == pytest.approx(10)
    assert "compositeSynthetic" in files.read_mark(tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def keep(frames, shown: list):
    for frame in frames:
        shown.append(frame.copy())
        yield frame


class _Killed(families.kind("landmarks")):
    """Dies when it swaps for the second time."""

    def overlay(self, source, target, amounts=None, also=()):
        self.swaps = getattr(self, "swaps", 0) + 1
        if self.swaps == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().overlay(source, target, amounts, also)


class _Counting(families.kind("landmarks")):
    swaps = 0

    def overlay(self, source, target, amounts=None, also=()):
        self.swaps += 1
        return super().overlay(source, target, amounts, also)


def _stop(out, frames, *_, **__):
    next(frames)
    raise KeyboardInterrupt


def test_killed_half_way_and_started_again(folder, tmp_path, monkeypatch):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_video as t; from pathlib import Path;"
        "t.looking.CHUNK = 3; t.swapped(Path(sys.argv[2]), Path(sys.argv[3]), t._Killed(t.LANDMARKS.config))"
    )
    out = tmp_path / "out.mp4"
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(folder), str(out)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    work = tmp_path / "out.mp4.unfinished"
    assert sorted(path.name for path in tmp_path.iterdir()) == [work.name]
    done = {path.name: path.stat().st_mtime_ns for path in work.iterdir() if not path.name.startswith(".")}
    assert [name[:8] + name[24:] for name in done] == ["swapped__0000000.npz"]

    monkeypatch.setattr(looking, "CHUNK", 3)
    with monkeypatch.context() as patch:  # and stopped while it writes
        patch.setattr(files, "write", _stop)
        counting = _Counting(LANDMARKS.config)
        with pytest.raises(KeyboardInterrupt):
            swapped(folder, out, counting)
        assert counting.swaps == 3
    assert all((work / name).stat().st_mtime_ns == then for name, then in done.items())
    counting = _Counting(LANDMARKS.config)
    shown = {}  # x264 itself may encode the same frames in two ways
    write = files.write
    monkeypatch.setattr(
        files, "write", lambda path, frames, *a, **k: write(path, keep(frames, shown.setdefault(path, [])), *a, **k)
    )
    swapped(folder, out, counting)
    assert counting.swaps == 0
    swapped(folder, tmp_path / "straight.mp4")
    np.testing.assert_array_equal(*shown.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "straight.mp4"]


def test_a_command_corrected_begins_anew_with_the_faces_that_were_found(folder, tmp_path, monkeypatch):
    out = tmp_path / "out.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(files, "write", _stop)
        with pytest.raises(KeyboardInterrupt):
            swapped(folder, out)
        with pytest.raises(ValueError, match="no person number 3 in the film: 1 found"):
            swapped(folder, out, face=3)
    searched = []
    monkeypatch.setattr(looking, "_find", lambda frames: searched.append(frames))
    counting = _Counting(LANDMARKS.config)
    assert swapped(folder, out, counting, sigma=0)
    assert (searched, counting.swaps) == ([], 1)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_families_get_aligned_frames_and_reenactors_drive_the_source(folder, tmp_path):
    sources, frames = [], []

    class Seen(families.kind("target")):
        def overlay(self, source, target, amounts=None, also=()):
            sources.append(source)
            frames.append(target)
            return families.Overlay(-target.images)

    class Mirror:
        name = "mirror"

        def drive(self, source: Faces, driver: Faces) -> Faces:
            assert len(source) == len(driver)
            return source.mirror()

    family = Seen(families.config("target", "smoke"))
    swapped(folder, tmp_path / "plain.mp4", family, size=48)
    swapped(folder, tmp_path / "driven.mp4", latent.Driven(family, Mirror()), size=48)
    plain, driven = sources
    assert plain.images.shape == (10, 3, 48, 48)
    assert torch.equal(driven.images, plain.images.flip(-1))
    assert frames[0].landmarks.std(0).max() < 1.5  # the face moved through the frames, not in the crop


def test_films_of_wide_pixels_are_swapped_on_square_ones_and_keep_theirs(folder, tmp_path, monkeypatch):
    crops = {}

    class Seen(families.kind("target")):
        def overlay(self, source, target, amounts=None, also=()):
            crops.setdefault(name, []).append(target.images)
            return families.Overlay(-target.images)

    family = Seen(families.config("target", "smoke"))
    frames = [PHOTO[:, 90 + 2 * k : 354 + 2 * k] for k in range(4)]
    times = [Fraction(k, 10) for k in range(4)]
    narrow = [cv2.resize(frame, (198, 230), interpolation=cv2.INTER_AREA) for frame in frames]
    for name, pictures, aspect in (("square", frames, Fraction(1)), ("wide", narrow, Fraction(4, 3))):
        make_film(tmp_path / f"{name}.mp4", pictures, times, aspect=aspect)
        options = {"size": 64, "progress": False}
        video.swap(family, folder / "source.png", tmp_path / f"{name}.mp4", tmp_path / f"{name}_out.mp4", **options)
        assert files.info(tmp_path / f"{name}_out.mp4").aspect == aspect
    assert (crops["square"][0] - crops["wide"][0]).abs().mean() < 0.06
    square, wide = (decoded(tmp_path / f"{name}_out.mp4")[2] for name in ("square", "wide"))
    back = cv2.resize(wide.astype(np.uint8), (264, 230)).astype(int)
    change = [np.abs(one - frames[2]).max(-1) > 60 for one in (square, back)]
    assert (change[0] & change[1]).sum() > 0.8 * (change[0] | change[1]).sum()


def test_label_maps_are_averaged_in_time_alike_whatever_is_handled_together(folder, tmp_path, monkeypatch):
    family = families.load("mask_guided", "smoke")
    plain, overlay, given = [], family.overlay, []

    def keep_labels(source, target, *rest):
        given.append(target.labels)
        plain.append(None if target.labels is None else family.parser.parse(target.images))
        return overlay(source, target, *rest)

    monkeypatch.setattr(family, "overlay", keep_labels)
    swapped(folder, tmp_path / "out.mp4", family)
    whole, own = given.pop(), plain.pop()
    monkeypatch.setattr(looking, "CHUNK", 3)
    swapped(folder, tmp_path / "out.mp4", family)
    assert len(given) == 4
    assert torch.equal(torch.cat(given), whole)
    steps = [(labels[1:] != labels[:-1]).float().mean() for labels in (whole, own)]
    assert steps[0] < steps[1]
    given.clear()
    swapped(folder, tmp_path / "out.mp4", family, sigma=0)
    assert set(given) == {None}
    assert len(swapped(folder, tmp_path / "out.mp4", latent.Stitched(family))) == 1


def test_videos_without_a_face_and_other_bad_input_get_a_sentence(folder, tmp_path):
    files.write(tmp_path / "grey.mp4", [FRAMES[5]] * 3, 10)
    options = {"progress": False}
    with pytest.raises(ValueError, match=r"no face found in any of the 3 frames of .*grey\.mp4"):
        video.swap(LANDMARKS, folder / "source.png", tmp_path / "grey.mp4", tmp_path / "out.mp4", **options)
    with pytest.raises(ValueError, match=r"out\.avi: videos are saved as \.mp4"):
        swapped(folder, tmp_path / "out.avi")
    Image.fromarray(FRAMES[5]).save(tmp_path / "wall.png")
    with pytest.raises(ValueError, match=r"source: no face found in .*wall\.png"):
        video.swap(LANDMARKS, tmp_path / "wall.png", folder / "target.mp4", tmp_path / "out.mp4", **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grey.mp4", "wall.png"]


def test_only_the_face_that_is_followed_is_swapped(folder, tmp_path, monkeypatch):
    small = PHOTO[:, 90:350]
    large = cv2.resize(small, None, fx=1.3, fy=1.3)
    small = np.pad(small, ((len(large) - len(small), 0), (0, 0), (0, 0)))
    pair = [np.concatenate([small, large], 1)] * 2
    files.write(tmp_path / "two.mp4", pair, 10)
    shown = []
    monkeypatch.setattr(files, "write", lambda out, frames, *_, **__: list(keep(frames, shown)) and [])
    notes = video.swap(LANDMARKS, folder / "source.png", tmp_path / "two.mp4", tmp_path / "out.mp4", progress=False)
    assert "2 people are in the film, number 0 was swapped: swaplib faces shows who is who" in notes
    change = np.abs(np.stack(shown).astype(int) - decoded(tmp_path / "two.mp4")).max(-1)
    edge = small.shape[1]
    assert not change[:, :, :edge].any()
    assert (change[:, :, edge:] > 8).any((1, 2)).all()
