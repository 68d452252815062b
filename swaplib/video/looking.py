"""Looking through a film: the faces of every frame and when it is shown; kept on disk by the film's content."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm.auto import tqdm

from swaplib import cache, photos
from swaplib.photos import Detection
from swaplib.provenance import sha256
from swaplib.video import files

CHUNK = 16  # frames that are handled, and kept, together


@dataclass(frozen=True)
class Footage:
    """A film's frames: their times in seconds, their faces, and these faces' descriptors, (N, 128) a frame.

    Faces lie on square pixels: a film whose pixels are wide is stretched for that, as players do.
    """

    about: files.Info
    times: list[Fraction]
    faces: list[list[Detection]]
    codes: list[np.ndarray]


def look_through(path: str | os.PathLike, progress: bool = True) -> Footage:
    """Find the faces of every frame of a film; what was found once is kept in `swaplib.cache`."""
    about, name = files.info(path), sha256(path)
    footage = Footage(about, [], [], [])
    for chunk, frames, times in chunks(path, about, "finding faces", progress):
        key = f"faces of a film {cache.digest_code()} {name} {CHUNK} {chunk.start}".encode()
        found = cache.recall("films", [key], lambda _, frames=frames: [_find([square(f, about) for f in frames])])[0]
        values = {name: value.numpy() for name, value in found.items()}
        ends = np.cumsum(values["counts"])
        for first, end in zip(ends - values["counts"], ends, strict=True):
            boxes, scores = values["boxes"][first:end].tolist(), values["scores"][first:end].tolist()
            marks = values["landmarks"][first:end]
            faces = [Detection(tuple(box), *rest) for box, *rest in zip(boxes, scores, marks, strict=True)]
            footage.faces.append(faces)
            footage.codes.append(values["codes"][first:end])
        footage.times.extend(times)
    return footage


def _find(frames: list[np.ndarray]) -> cache.Result:
    faces = [photos.detect(frame, weakest=0) for frame in frames]  # false alarms don't last
    codes = [
        photos.describe_photo(frame, [one.landmarks for one in own]) for frame, own in zip(frames, faces, strict=True)
    ]
    flat = [one for several in faces for one in several]
    return {
        "counts": torch.tensor([len(several) for several in faces]),
        "boxes": torch.tensor([one.box for one in flat], dtype=torch.float64).reshape(-1, 4),
        "scores": torch.tensor([one.score for one in flat], dtype=torch.float64),
        "landmarks": torch.tensor(np.array([one.landmarks for one in flat])).double().reshape(-1, 68, 2),
        "codes": torch.cat(codes),
    }


def square(frame: np.ndarray, about: files.Info) -> np.ndarray:
    """Stretch a frame to square pixels."""
    if about.aspect == 1:
        return frame
    return cv2.resize(frame, square_shape(about)[::-1], interpolation=cv2.INTER_LINEAR)


def square_shape(about: files.Info) -> tuple[int, int]:
    """Return a film's height and width in square pixels."""
    return about.height, max(1, round(about.width * about.aspect))


def chunks(
    path: str | os.PathLike, about: files.Info, doing: str, progress: bool = True
) -> Iterator[tuple[slice, list[np.ndarray], list[Fraction]]]:
    """Yield the frames of a film and their times, `CHUNK` at a time, with the slice of their numbers."""
    with tqdm(total=about.count or None, desc=doing, unit="frame", disable=not progress) as bar:
        held: list[tuple[np.ndarray, Fraction]] = []
        start = 0
        for frame in files.read(Path(path)):
            held.append(frame)
            if len(held) == CHUNK:
                yield slice(start, start + CHUNK), *map(list, zip(*held, strict=True))
                bar.update(CHUNK)
                start, held = start + CHUNK, []
        if held:
            yield slice(start, start + len(held)), *map(list, zip(*held, strict=True))
            bar.update(len(held))
