"""Who is there: the people of a film or photograph, with numbers, times and pictures, before anything is swapped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from PIL import Image, ImageDraw

from swaplib import photos
from swaplib.photos import Detection
from swaplib.video import files, looking, people
from swaplib.video.people import Person

_EDGE, _SHOWN, _LABEL = 96, 6, 20  # pixels of a thumbnail, how many of each person, pixels of a line of text


def show_faces(path: str | os.PathLike, progress: bool = True) -> tuple[list[str], np.ndarray]:
    """Tell who is in a film or photograph: a line for each, and a sheet of thumbnails, uint8 RGB (H, W, 3).

    The numbers are those that `video.swap` and `latent.swap_photographs` take. Raises ValueError where nobody is.
    """
    if files.is_video(path):
        return _show_film(path, progress)
    photo, _ = photos.read(path)
    found, _ = photos.search(photo)
    if not found:
        photos.find(path)  # says why
    rows = [(str(k), [(_cut(photo, face), "")]) for k, face in enumerate(found)]
    lines = [
        f"{k}  {face.width:.0f} px wide, at {face.centre[0]:.0f},{face.centre[1]:.0f}" for k, face in enumerate(found)
    ]
    return lines, _lay_out(rows)


def _show_film(path: str | os.PathLike, progress: bool) -> tuple[list[str], np.ndarray]:
    footage = looking.look_through(path, progress)
    everyone = people.tell_apart(footage.faces, footage.codes)
    if not everyone:
        raise ValueError(f"no face found in any of the {len(footage.times)} frames of {path}")
    there = people.lasting(everyone, footage.times)
    shown = {k: person for k, person in enumerate(everyone) if any(person is one for one in there)}
    wanted: dict[int, list[int]] = {}
    for k, person in shown.items():
        for frame in _choose_frames(person):
            wanted.setdefault(frame, []).append(k)
    cuts: dict[int, list[tuple[np.ndarray, str]]] = {k: [] for k in shown}
    for chunk, frames, times in looking.chunks(path, footage.about, "cutting out faces", progress):
        for frame, (picture, time) in enumerate(zip(frames, times, strict=True), chunk.start):
            for k in wanted.get(frame, ()):
                face = everyone[k].faces[frame]
                cuts[k].append((_cut(looking.square(picture, footage.about), face), _clock(time)))
    lines = [f"{k}  {_describe(person, footage.times)}" for k, person in shown.items()]
    if brief := len(everyone) - len(shown):
        lines.append(f"{brief} more are seen for less than {float(people.BRIEF):.1f} s")
    return lines, _lay_out([(str(k), cuts[k]) for k in shown])


def _choose_frames(person: Person) -> list[int]:
    """Choose frames that show someone well, spread over the film."""
    scores = np.array([face.score for face in person.faces.values()])
    good = np.array(list(person.faces))[scores >= np.median(scores)]
    return sorted({int(good[round(at)]) for at in np.linspace(0, len(good) - 1, _SHOWN)})


def _describe(person: Person, times: Sequence[Fraction]) -> str:
    """Say for how long and when someone is seen, and how large."""
    step = (times[-1] - times[0]) / max(1, len(times) - 1)
    spans: list[list[Fraction]] = []
    for frame in sorted(person.faces):
        if spans and times[frame] - spans[-1][1] <= people.BRIDGED:
            spans[-1][1] = times[frame]
        else:
            spans.append([times[frame], times[frame]])
    told = [f"{_clock(first)}–{_clock(last + step)}" for first, last in spans]
    more = [f"and {len(told) - _SHOWN} times more"] if len(told) > _SHOWN else []
    width = np.median([face.width for face in person.faces.values()])
    return (
        f"seen for {float(len(person.faces) * step):.1f} s: {', '.join([*told[:_SHOWN], *more])}; {width:.0f} px wide"
    )


def _clock(time: Fraction) -> str:
    minutes, seconds = divmod(float(time), 60)
    return f"{minutes:.0f}:{seconds:04.1f}"


def _cut(photo: np.ndarray, face: Detection) -> np.ndarray:
    return photos.warp_photo(photo, photos.alignment(face.landmarks, "portrait", _EDGE), (_EDGE, _EDGE))


def _lay_out(rows: Sequence[tuple[str, Sequence[tuple[np.ndarray, str]]]]) -> np.ndarray:
    """Lay thumbnails out in rows, with the number before each row and the time below each picture."""
    sheet = Image.new("RGB", (_EDGE * max(len(cuts) for _, cuts in rows) + 30, (_EDGE + _LABEL) * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (name, cuts) in enumerate(rows):
        top = row * (_EDGE + _LABEL)
        draw.text((8, top + _EDGE // 2 - 6), name, "black")
        for column, (picture, time) in enumerate(cuts):
            sheet.paste(Image.fromarray(picture), (30 + column * _EDGE, top))
            draw.text((30 + column * _EDGE + 4, top + _EDGE + 4), time, "black")
    return np.array(sheet)
