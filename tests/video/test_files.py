"""Film files: every frame at its time, the sound beside it, colours by their own matrix, pixels of their own form."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from making import hear_beep, make_film
from PIL import Image

from swaplib.video import colours, files

SIZE = (64, 96)


def flash(times, at: Fraction) -> list[np.ndarray]:
    """Frames that turn from black to white at a time."""
    return [np.full((*SIZE, 3), 255 if time >= at else 0, np.uint8) for time in times]


def copied(path: Path, out: Path) -> tuple[list[Fraction], list[str]]:
    """Write a film anew from its frames, as a swap does; return the times of the copy."""
    found = list(files.read(path))
    about = files.info(path)
    notes = files.write(out, [picture for picture, _ in found], about.fps, like=path, times=[time for _, time in found])
    return [time for _, time in files.read(out)], notes


def see_flash(path: Path) -> float:
    return next(float(time) for picture, time in files.read(path) if picture.mean() > 128)


VARIABLE = [Fraction(k, 30) for k in range(30)] + [1 + Fraction(k, 10) for k in range(10)]
LATE = [Fraction(1, 2) + Fraction(k, 30) for k in range(45)]
NTSC = [Fraction(1001 * k, 30_000) for k in range(60)]


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("times", [VARIABLE, LATE, NTSC], ids=["variable", "late", "29.97"])
def test_every_frame_keeps_its_time_and_the_sound_its_place(tmp_path, times, ending):
    film = make_film(tmp_path / f"film{ending}", flash(times, Fraction(1)), times, beep=Fraction(1))
    found, notes = copied(film, tmp_path / "out.mp4")
    assert notes == []
    shortest = min(after - at for at, after in pairwise(times))
    wanted = [time for _, time in files.read(film)]
    assert len(found) == len(times)
    assert max(abs(one - other) for one, other in zip(found, wanted, strict=True)) < shortest / 20
    if ending != ".ts":  # whose clock begins somewhere
        assert max(abs(one - other) for one, other in zip(found, times, strict=True)) <= Fraction(1, 1000)
    before, after = (see_flash(path) - hear_beep(path) for path in (film, tmp_path / "out.mp4"))
    assert after == pytest.approx(before, abs=0.002)
    assert abs(after) < 0.04


@pytest.mark.parametrize(
    ("sound", "ending"), [("pcm_s16le", ".mkv"), ("mp3", ".mp4"), ("libopus", ".mkv"), ("mp2", ".ts")]
)
def test_sound_that_browsers_do_not_play_becomes_aac_in_time(tmp_path, sound, ending):
    film = make_film(tmp_path / f"film{ending}", flash(LATE, Fraction(1)), LATE, beep=Fraction(1), sound=sound)
    copied(film, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == ("mp3float" if sound == "mp3" else "aac")
    assert see_flash(tmp_path / "out.mp4") - hear_beep(tmp_path / "out.mp4") == pytest.approx(
        see_flash(film) - hear_beep(film), abs=0.005
    )


def test_browsers_can_play_what_is_written(tmp_path):
    film = make_film(tmp_path / "film.mkv", flash(NTSC, Fraction(1)), NTSC, pixels="yuv444p", beep=Fraction(1))
    copied(film, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
    whole = (tmp_path / "out.mp4").read_bytes()
    assert whole.index(b"moov") < whole.index(b"mdat")  # playable before it is there whole


def test_the_last_frame_stays_as_long_as_in_the_film(tmp_path):
    times = [Fraction(k, 10) for k in range(5)]
    copied(make_film(tmp_path / "film.mp4", flash(times, Fraction(1)), times), tmp_path / "out.mp4")
    assert files.info(tmp_path / "out.mp4").end == pytest.approx(files.info(tmp_path / "film.mp4").end)
    files.write(tmp_path / "even.mp4", flash(times, Fraction(1)), 10)
    assert files.info(tmp_path / "even.mp4").end == Fraction(1, 2)


def test_turned_films_are_upright_and_their_pixels_turn_along(tmp_path):
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[:20, :30] = 255
    film = make_film(tmp_path / "film.mp4", [picture] * 2, VARIABLE[:2], turned=90, aspect=Fraction(4, 3))
    capture = cv2.VideoCapture(str(film), cv2.CAP_FFMPEG)
    reference = capture.read()[1]
    capture.release()
    about = files.info(film)
    assert (about.height, about.width) == reference.shape[:2] == SIZE[::-1]
    assert about.aspect == Fraction(3, 4)
    assert np.abs(next(files.frames(film)).astype(int) - reference[..., ::-1]).mean() < 3


def test_pixels_keep_their_form(tmp_path):
    film = make_film(tmp_path / "film.mp4", flash(NTSC[:3], Fraction(0)), NTSC[:3], aspect=Fraction(4, 3))
    copied(film, tmp_path / "out.mp4")
    assert files.info(tmp_path / "out.mp4").aspect == Fraction(4, 3)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


# ---------------------------------------------------------------------------------------------- colours

PAINTS = [(251, 0, 0), (0, 180, 60), (40, 60, 220), (200, 150, 120), (255, 255, 255), (16, 16, 16)]
WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # of red and blue in the luma


def to_planes(paints, matrix: int, full: bool, bits: int = 8, height: int = 96) -> np.ndarray:
    """Return columns of colours in planes 4:2:0, by the formulas of the standards."""
    red, blue = WEIGHTS[matrix]
    r, g, b = (np.array(paints) / 255).T
    luma = red * r + (1 - red - blue) * g + blue * b
    chroma = np.stack([(b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red)])
    scale, top = 2 ** (bits - 8), 2**bits - 1
    y = luma * top if full else scale * (16 + 219 * luma)
    uv = top * chroma + 2 ** (bits - 1) if full else scale * (128 + 224 * chroma)
    rows = [np.tile(np.repeat(y, 32), (height, 1)), *(np.tile(np.repeat(one, 16), (height // 2, 1)) for one in uv)]
    whole = np.concatenate([row.reshape(-1) for row in rows]).reshape(-1, 32 * len(paints))
    return np.rint(whole.clip(0, top)).astype(np.uint8 if bits == 8 else np.uint16)


def look(path: Path) -> np.ndarray:
    """The colours of the columns."""
    return next(files.frames(path))[40, 16::32].astype(int)


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [1, 6, 9])
def test_colours_are_read_and_written_by_the_films_own_matrix_and_range(tmp_path, matrix, full):
    tags = ({1: 1, 6: 6, 9: 9}[matrix], {1: 1, 6: 6, 9: 14}[matrix], matrix, 2 if full else 1)
    film = make_film(tmp_path / "film.mp4", [to_planes(PAINTS, matrix, full)] * 2, NTSC[:2], tags=tags)
    assert np.abs(look(film) - PAINTS).max() <= 2
    copied(film, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == tags
    assert np.abs(look(tmp_path / "out.mp4") - PAINTS).max() <= 3  # rounded three times


@pytest.mark.parametrize(("height", "matrix"), [(576, 6), (720, 1)])
def test_a_film_that_does_not_say_is_read_as_players_do_and_says_it_then(tmp_path, height, matrix):
    film = make_film(tmp_path / "film.mp4", [to_planes(PAINTS, matrix, False, height=height)], [Fraction(0)])
    assert np.abs(look(film) - PAINTS).max() <= 2
    copied(film, tmp_path / "out.mp4")
    assert files.info(tmp_path / "out.mp4").colours.matrix == matrix
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.colorspace == matrix
    files.write(tmp_path / "plain.mp4", [np.full((*SIZE, 3), (251, 0, 0), np.uint8)], 10)
    assert files.info(tmp_path / "plain.mp4").colours == colours.BT709
    assert np.abs(look(tmp_path / "plain.mp4") - (251, 0, 0)).max() <= 2


@pytest.mark.parametrize(("transfer", "name", "white"), [(18, "HLG", 0.75), (16, "PQ", 0.58)])
def test_hdr_becomes_sdr_and_says_so(tmp_path, transfer, name, white):
    levels = np.array([0, 0.25, 0.5, white, 1.0]) * 255
    greys = [(level,) * 3 for level in levels] + [(0.9 * 255, 0.3 * 255, 0.3 * 255)]
    planes = to_planes(greys, 9, False, bits=10)
    film = make_film(tmp_path / "film.mkv", [planes], [Fraction(0)], pixels="yuv420p10le", tags=(9, transfer, 9, 1))
    assert files.info(film).notes == (f"the film is in HDR ({name}); the result is in SDR",)
    seen = look(film)
    assert (np.ptp(seen[:5], axis=1) <= 3).all()  # greys stay grey
    brightness = seen[:5].mean(1)
    assert brightness[0] <= 1
    assert (np.diff(brightness) > 8).all()
    assert 225 < brightness[3] < 248  # a white page
    assert brightness[4] >= 253
    assert seen[5, 0] > 200 > 150 > seen[5, 1]
    copied(film, tmp_path / "out.mp4")
    assert files.info(tmp_path / "out.mp4").colours == colours.BT709
    assert np.abs(look(tmp_path / "out.mp4") - seen).max() <= 3


# ---------------------------------------------------------------------------------------------- without PyAV


def test_without_pyav_films_are_plain_and_a_sentence_says_what_is_lost(tmp_path, monkeypatch):
    film = make_film(tmp_path / "film.mp4", flash(VARIABLE, Fraction(1)), VARIABLE, beep=Fraction(1))
    monkeypatch.setattr(files, "av", None)
    assert files.info(film).count == len(VARIABLE)
    found, notes = copied(film, tmp_path / "out.mp4")
    assert notes == [files.PLAIN]
    assert "pip install av" in files.PLAIN
    assert len(found) == len(VARIABLE)


# ---------------------------------------------------------------------------------------------- animated pictures


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_animated_pictures_are_films(tmp_path, ending):
    pictures = [np.full((*SIZE, 3), level, np.uint8) for level in (20, 120, 220)]
    first, *rest = map(Image.fromarray, pictures)
    path = tmp_path / f"film.{ending}"
    first.save(path, save_all=True, append_images=rest, duration=[100, 200, 300], loop=2, lossless=True)
    assert files.is_video(path)
    about = files.info(path)
    assert (about.width, about.height, about.count, about.end) == (96, 64, 3, Fraction(6, 10))
    times = [time for _, time in files.read(path)]
    assert times == [0, Fraction(1, 10), Fraction(3, 10)]
    for name in ("out.gif", "out.mp4"):
        found, notes = copied(path, tmp_path / name)
        assert (found, notes) == (times, [])
        assert files.info(tmp_path / name).end == Fraction(6, 10)
        assert "compositeSynthetic" in files.read_mark(tmp_path / name)
        assert np.abs(np.stack(list(files.frames(tmp_path / name))).mean((1, 2, 3)) - [20, 120, 220]).max() < 3
    with Image.open(tmp_path / "out.gif") as image:
        assert image.info.get("loop") == 2
    first.save(tmp_path / "still.gif")
    assert not files.is_video(tmp_path / "still.gif")
