"""Painting label maps: strokes, outlines, fills and changes of whole regions, as functions and as edits to undo.

A label map holds one of CelebAMask-HQ's 19 classes for each pixel, uint8 (H, W). Every function here takes one and
returns a new one. A region is named as in `swaplib.faces.CELEBAMASK_HQ`, or by its number.

Points are pixels (x, y), x to the right and y down. The centre of the first pixel is at (0, 0), so the picture
extends from -0.5 to W - 0.5 and from -0.5 to H - 0.5. A shape paints the pixels whose centres lie in it, without
smoothing; whatever lies outside the picture is cut off.

>>> canvas = Canvas(faces.labels[0])
>>> canvas.stroke("nose", [(30, 30), (34, 40)], width=5).grow("hair", 2).undo()
>>> text = to_json(canvas.edits)  # the same edits somewhere else: replay(mask, from_json(text))
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image, PngImagePlugin, UnidentifiedImageError
from scipy.ndimage import distance_transform_edt
from skimage.draw import polygon as polygon_pixels
from skimage.segmentation import flood

from swaplib.faces import CELEBAMASK_HQ, LABEL_COLOURS
from swaplib.foreign import parse_json
from swaplib.photos.reading import PhotoError, open_image
from swaplib.provenance import replacing, software

Mask = np.ndarray | torch.Tensor
Point = Sequence[float]
Region = str | int


def label(region: Region) -> int:
    """Return the class number of a region. Raises ValueError for one that is none of the 19."""
    if isinstance(region, str) and region in CELEBAMASK_HQ:
        return CELEBAMASK_HQ.index(region)
    if isinstance(region, (int, np.integer)) and 0 <= region < len(CELEBAMASK_HQ):
        return int(region)
    raise ValueError(f"unknown region {region!r}: choose from {', '.join(CELEBAMASK_HQ)}")


def checked(mask: Mask) -> np.ndarray:
    """Return a label map as a numpy array.

    Raises ValueError for anything but uint8 (H, W) with values up to 18.
    """
    array = np.asarray(mask)
    if array.ndim != 2 or array.dtype != np.uint8 or array.size == 0:
        raise ValueError(f"a label map is uint8 (H, W), got {array.dtype} {array.shape}: take the labels of one face")
    if array.max() >= len(CELEBAMASK_HQ):
        raise ValueError(
            f"the label map holds the value {array.max()}, but there are {len(CELEBAMASK_HQ)} classes (0 to "
            f"{len(CELEBAMASK_HQ) - 1}): translate it with swaplib.faces.relabel first"
        )
    return array


# ---------------------------------------------------------------------------------------------- shapes


def paint(mask: Mask, region: Region, polygon: Sequence[Point]) -> np.ndarray:
    """Paint the inside of a polygon, (N, 2) with N at least 3; it is closed automatically.

    Where its outline crosses itself, the even-odd rule decides what is inside. Pixel centres on the outline are inside.
    """
    mask, points = checked(mask), _points(polygon, 3)
    painted = mask.copy()
    painted[polygon_pixels(points[:, 1], points[:, 0], mask.shape)] = label(region)
    return painted


def stroke(mask: Mask, region: Region, points: Sequence[Point], width: float) -> np.ndarray:
    """Paint along a path (N, 2) with a round brush `width` pixels wide; a single point makes a dot.

    Pixels whose centres are at most width / 2 from the path are painted, and those that its points fall into, so that
    the thinnest brush leaves a mark too.
    """
    mask, path = checked(mask), _points(points, 1)
    if not 0 < _number("width", width) <= 2 * max(mask.shape):
        raise ValueError(f"a brush is more than 0 and at most {2 * max(mask.shape)} pixels wide here, not {width}")
    painted, value = mask.copy(), label(region)
    corners = path.tolist()
    for start, end in zip(corners, corners[1:] or corners, strict=False):
        rows, columns, near = _near_segment(mask.shape, start, end, width / 2)
        painted[rows, columns][near] = value
    pixels = _pixels(path)
    inside = ((pixels >= 0) & (pixels < mask.shape[::-1])).all(1)
    painted[pixels[inside, 1], pixels[inside, 0]] = value
    return painted


def fill(mask: Mask, region: Region, point: Point) -> np.ndarray:
    """Paint the patch that a point lies in: the pixels of one label that are connected by their sides."""
    mask = checked(mask)
    painted = mask.copy()
    painted[flood(mask, _inside(mask, point), connectivity=1)] = label(region)
    return painted


def pick(mask: Mask, point: Point) -> str:
    """Return the name of the region at a point."""
    mask = checked(mask)
    return CELEBAMASK_HQ[mask[_inside(mask, point)]]


def _near_segment(shape: tuple[int, int], start: Point, end: Point, radius: float):
    """Return rows and columns (slices) of a box, and in it the pixels within a radius of the segment."""
    (sx, sy), (ex, ey) = start, end
    left, right = max(math.ceil(min(sx, ex) - radius), 0), min(math.floor(max(sx, ex) + radius), shape[1] - 1)
    top, bottom = max(math.ceil(min(sy, ey) - radius), 0), min(math.floor(max(sy, ey) + radius), shape[0] - 1)
    rows, columns = slice(top, max(bottom + 1, top)), slice(left, max(right + 1, left))
    fx, fy = np.arange(left, columns.stop) - sx, np.arange(top, rows.stop)[:, None] - sy
    dx, dy = ex - sx, ey - sy
    along = np.minimum(np.maximum((fx * dx + fy * dy) / ((dx * dx + dy * dy) or 1.0), 0), 1)
    return rows, columns, (fx - along * dx) ** 2 + (fy - along * dy) ** 2 <= radius * radius


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number of pixels, got {value!r}")
    return float(value)


def _points(points: Sequence[Point], least: int) -> np.ndarray:
    try:
        array = np.asarray(points, dtype=float)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim != 2 or array.shape[1] != 2 or len(array) < least:
        raise ValueError(f"expected at least {least} points (x, y) in pixels, got {points!r:.60}")
    if not np.isfinite(array).all() or np.abs(array).max() > 1e6:
        raise ValueError("points must be finite numbers of pixels, at most a million from the first one")
    return array


def _pixels(points: np.ndarray) -> np.ndarray:
    """Return the pixels (column, row) that points fall into."""
    return np.floor(points + 0.5).astype(int)


def _inside(mask: np.ndarray, point: Point) -> tuple[int, int]:
    column, row = _pixels(_points([point], 1))[0]
    height, width = mask.shape
    if not (0 <= column < width and 0 <= row < height):
        raise ValueError(
            f"the point ({point[0]:g}, {point[1]:g}) lies outside the picture, whose pixels go from (0, 0) to "
            f"({width - 1}, {height - 1})"
        )
    return int(row), int(column)


# ---------------------------------------------------------------------------------------------- whole regions


def grow(mask: Mask, region: Region, by: float = 1) -> np.ndarray:
    """Widen a region: every pixel at most `by` pixels from one of its pixels becomes the region's, whatever it was."""
    mask, value = _having(mask, region, "grow")
    painted, reach = mask.copy(), _reach(by)
    near = _around(mask == value, math.ceil(min(reach, sum(mask.shape))))
    painted[near][distance_transform_edt(mask[near] != value) <= reach] = value
    return painted


def shrink(mask: Mask, region: Region, by: float = 1) -> np.ndarray:
    """Narrow a region: its pixels at most `by` pixels from one of another label take the label nearest to them.

    The picture's edge is no other label, so a region that is cut off there stays so. A thin region may vanish.
    """
    mask, value = _having(mask, region, "shrink")
    if (mask == value).all():
        return mask.copy()
    painted, near, reach = mask.copy(), _around(mask == value), _reach(by)
    distance, nearest = distance_transform_edt(mask[near] == value, return_indices=True)
    painted[near] = np.where(distance <= reach, mask[near][tuple(nearest)], value)
    return painted


def move(mask: Mask, region: Region, dx: int, dy: int) -> np.ndarray:
    """Move a region by whole pixels, over what lies there; what leaves the picture is lost.

    Each pixel left behind takes the nearest label of the region's surroundings (background where there are none).
    """
    mask, value = _having(mask, region, "move")
    dx, dy = (_whole(name, step) for name, step in (("dx", dx), ("dy", dy)))
    painted, own = np.zeros_like(mask), mask == value
    if not own.all():
        near = _around(own)
        nearest = distance_transform_edt(own[near], return_distances=False, return_indices=True)
        painted = mask.copy()
        painted[near] = mask[near][tuple(nearest)]
    rows, columns = np.nonzero(own)
    rows, columns = rows + dy, columns + dx
    kept = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    painted[rows[kept], columns[kept]] = value
    return painted


def put(mask: Mask, png: str) -> np.ndarray:
    """Replace the whole label map by another of the same size, a palette PNG in base64, as `to_png` makes it."""
    try:
        content = base64.b64decode(png, validate=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the mask to be put is no PNG in base64 ({error}): make it with to_png") from error
    return _read(io.BytesIO(content), "the mask to be put", checked(mask).shape, False)


def _having(mask: Mask, region: Region, verb: str) -> tuple[np.ndarray, int]:
    mask, value = checked(mask), label(region)
    if not (mask == value).any():
        raise ValueError(f"the mask has no {CELEBAMASK_HQ[value]} to {verb}: paint it first")
    return mask, value


def _around(own: np.ndarray, margin: int = 1) -> tuple[slice, slice]:
    """Return the box around a region; with a margin of 1 it holds the nearest other pixel to each of its pixels."""
    found = (np.flatnonzero(own.any(axis)) for axis in (1, 0))
    return tuple(slice(max(where[0] - margin, 0), where[-1] + margin + 1) for where in found)


def _reach(by: float) -> float:
    if _number("by", by) < 0:
        raise ValueError(f"by must be a number of pixels from 0 up, got {by!r}")
    return by


def _whole(name: str, step: Any) -> int:
    if _number(name, step) != round(step) or abs(step) > 10**6:
        raise ValueError(f"{name} must be a whole number of pixels, got {step!r}")
    return round(step)


# ---------------------------------------------------------------------------------------------- edits

EDITS: dict[str, Callable[..., np.ndarray]] = {
    function.__name__: function for function in (paint, stroke, fill, grow, shrink, move, put)
}


@dataclass(frozen=True)
class Edit:
    """One change of a label map, as data: which function of this module, and its arguments after the mask.

    All arguments are kept, as JSON has them, so that a default changed later changes no saved edit.
    Raises ValueError for an unknown function or arguments that it doesn't take; `apply` checks their values.
    """

    do: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if self.do not in EDITS:
            raise ValueError(f"unknown edit {self.do!r}: choose from {', '.join(EDITS)}")
        try:
            bound = signature(EDITS[self.do]).bind(None, **self.arguments)
        except TypeError as error:
            raise ValueError(f"an edit {self.do!r} can't be made like this: {error}") from error
        bound.apply_defaults()
        plain = {name: _plain(value) for name, value in bound.arguments.items() if name != "mask"}
        if "region" in plain:
            plain["region"] = CELEBAMASK_HQ[label(plain["region"])]
        object.__setattr__(self, "arguments", plain)

    def apply(self, mask: Mask) -> np.ndarray:
        """Return the label map after this edit."""
        return EDITS[self.do](mask, **self.arguments)

    @property
    def record(self) -> dict[str, Any]:
        """The edit as a flat dictionary for JSON."""
        return {"do": self.do, **self.arguments}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Edit:
        if not isinstance(record, Mapping) or not isinstance(record.get("do"), str):
            raise ValueError(f"{record!r:.60} is no edit: an edit is a dictionary with the function's name under 'do'")
        return cls(record["do"], {str(name): value for name, value in record.items() if name != "do"})

    @cached_property
    def text(self) -> str:
        """The record as one line of JSON."""
        return json.dumps(self.record, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def replay(mask: Mask, edits: Iterable[Edit]) -> np.ndarray:
    """Return the label map after some edits, one after the other."""
    mask = checked(mask).copy()
    for edit in edits:
        mask = edit.apply(mask)
    return mask


def to_json(edits: Iterable[Edit]) -> str:
    """Write edits as a JSON list, one line each."""
    return "[" + ",\n ".join(edit.text for edit in edits) + "]"


def from_json(text: str) -> tuple[Edit, ...]:
    """Read the edits that `to_json` wrote. Raises ValueError, in one sentence, for anything else."""
    try:
        records = parse_json(text)
    except ValueError as error:
        raise ValueError(f"this is no saved list of edits ({error}): save one with masks.to_json") from error
    if not isinstance(records, list):
        raise ValueError("this is no saved list of edits (the JSON holds no list): save one with masks.to_json")
    return tuple(Edit.from_record(record) for record in records)


T = TypeVar("T", bound="Paintable")


class Paintable:
    """The edits as methods of anything with a method `apply` for them; each returns what that does."""

    apply: Callable[[Edit], Any]

    def paint(self: T, region: Region, polygon: Sequence[Point]) -> T:
        return self.apply(Edit("paint", {"region": region, "polygon": polygon}))

    def stroke(self: T, region: Region, points: Sequence[Point], width: float) -> T:
        return self.apply(Edit("stroke", {"region": region, "points": points, "width": width}))

    def fill(self: T, region: Region, point: Point) -> T:
        return self.apply(Edit("fill", {"region": region, "point": point}))

    def grow(self: T, region: Region, by: float = 1) -> T:
        return self.apply(Edit("grow", {"region": region, "by": by}))

    def shrink(self: T, region: Region, by: float = 1) -> T:
        return self.apply(Edit("shrink", {"region": region, "by": by}))

    def move(self: T, region: Region, dx: int, dy: int) -> T:
        return self.apply(Edit("move", {"region": region, "dx": dx, "dy": dy}))

    def put(self: T, mask: Mask) -> T:
        """Replace the whole label map, for instance by one that was painted elsewhere and loaded."""
        return self.apply(Edit("put", {"png": base64.b64encode(to_png(mask)).decode()}))


class Canvas(Paintable):
    """A label map being edited; every edit can be undone and redone, bit for bit.

    mask     the label map as it is now, uint8 (H, W), read-only
    edits    what has been done and not undone, in order; `replay(first mask, edits)` gives `mask`

    Each edit returns the canvas. Consecutive moves of one region count as a single edit, so that a region which is
    nudged along doesn't erase what it passes over.
    """

    def __init__(self, mask: Mask, edits: Iterable[Edit] = ()):
        self._past: list[tuple[Edit, bytes]] = []  # with the mask before
        self._future: list[tuple[Edit, bytes]] = []  # with the mask after
        self._set(checked(mask).copy())
        for edit in edits:
            self.apply(edit)

    def _set(self, mask: np.ndarray) -> None:
        self.mask = mask
        self.mask.flags.writeable = False

    def _pack(self) -> bytes:
        return zlib.compress(self.mask.tobytes(), 1)

    def _unpack(self, packed: bytes) -> np.ndarray:
        return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(self.mask.shape)

    @property
    def edits(self) -> tuple[Edit, ...]:
        return tuple(edit for edit, _ in self._past)

    @property
    def can_undo(self) -> bool:
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        return bool(self._future)

    def apply(self, edit: Edit) -> Canvas:
        """Apply an edit. One that fails raises ValueError and changes nothing."""
        last = self._past[-1][0] if self._past else None
        if last and edit.do == last.do == "move" and edit.arguments["region"] == last.arguments["region"]:
            steps = {name: last.arguments[name] + _whole(name, edit.arguments[name]) for name in ("dx", "dy")}
            whole = Edit("move", edit.arguments | steps)
            self._set(whole.apply(self._unpack(self._past[-1][1])))
            self._past[-1] = (whole, self._past[-1][1])
        else:
            mask = edit.apply(self.mask)
            self._past.append((edit, self._pack()))
            self._set(mask)
        self._future.clear()
        return self

    def undo(self) -> Canvas:
        """Undo the last edit, if there is one."""
        if self._past:
            edit, before = self._past.pop()
            self._future.append((edit, self._pack()))
            self._set(self._unpack(before))
        return self

    def redo(self) -> Canvas:
        """Redo what was undone last, unless nothing was or another edit came since."""
        if self._future:
            edit, after = self._future.pop()
            self._past.append((edit, self._pack()))
            self._set(self._unpack(after))
        return self

    def reset(self) -> Canvas:
        """Undo everything; `redo` brings it back step by step."""
        while self._past:
            self.undo()
        return self

    def pick(self, point: Point) -> str:
        return pick(self.mask, point)


# ---------------------------------------------------------------------------------------------- files


def to_png(mask: Mask) -> bytes:
    """Write a label map as a palette PNG: class numbers as pixels, their colours (`faces.LABEL_COLOURS`) as palette."""
    image = Image.fromarray(checked(mask))
    image.putpalette(LABEL_COLOURS.flatten().tolist())
    info = PngImagePlugin.PngInfo()
    info.add_itxt("Software", software())
    info.add_itxt("Description", "Classes: " + ", ".join(f"{k} {name}" for k, name in enumerate(CELEBAMASK_HQ)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def save(mask: Mask, path: str | os.PathLike) -> Path:
    """Save a label map as a palette PNG. Raises ValueError for another extension."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path}: masks are saved as PNG, which changes no label; choose the ending .png")
    content = to_png(mask)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


def load(path: str | os.PathLike, size: tuple[int, int] | None = None, colours: bool = False) -> np.ndarray:
    """Read a label map, uint8 (H, W), from a PNG whose pixels hold class numbers (palette or grey).

    size: height and width that it must have. colours: go by the pixels' colours instead of their numbers, for a mask
    of `save` that another program converted to RGB or whose palette it reordered.
    Raises PhotoError, one sentence with the file's name and the remedy, for anything that is no such mask.
    """
    return _read(path, str(path), size, colours)


def _read(file: str | os.PathLike | io.BytesIO, name: str, size: tuple[int, int] | None, colours: bool) -> np.ndarray:
    try:
        with open_image(file, name) as image:
            if image.format != "PNG":
                raise PhotoError(f"{name} is no PNG but {image.format}, which may change labels: save it as PNG")
            if size is not None and image.size[::-1] != tuple(size):
                raise PhotoError(
                    f"{name} is {image.width} x {image.height} pixels, but the picture is {size[1]} x {size[0]}: "
                    "scale it to that, by nearest neighbour so that no labels are mixed"
                )
            image.load()
            return _by_colour(image, name) if colours else _by_number(image, name)
    except PhotoError:
        raise
    except UnidentifiedImageError:
        raise PhotoError(f"{name} is not a PNG file: save the mask as PNG", "not a picture") from None
    except Exception as error:  # Pillow's decoders raise a dozen kinds of exception for damaged files
        raise PhotoError(f"{name} is cut off or damaged ({error}): get a whole copy of it") from error


def _by_number(image: Image.Image, name: str) -> np.ndarray:
    if image.mode != "P" and image.mode != "L" and not image.mode.startswith("I"):
        raise PhotoError(
            f"{name} holds colours ({image.mode}), not class numbers: save it as an indexed PNG, or, where its colours "
            "are those of swaplib's masks, load it with colours=True"
        )
    numbers = np.asarray(image)
    present = np.unique(numbers)
    if present[-1] >= len(CELEBAMASK_HQ) or present[0] < 0:
        wrong = present[-1] if present[0] >= 0 else present[0]
        raise PhotoError(
            f"{name} holds the value {wrong}, but the classes are 0 to {len(CELEBAMASK_HQ) - 1}: save the numbers of "
            "CelebAMask-HQ's classes, and paint without smoothing"
        )
    if image.mode == "P":
        palette = np.reshape(image.getpalette("RGB"), (-1, 3))[present]
        ours = {tuple(colour) for colour in LABEL_COLOURS.tolist()}
        if {tuple(colour) for colour in palette.tolist()} <= ours and (palette != LABEL_COLOURS[present]).any():
            raise PhotoError(
                f"{name} has swaplib's colours under other numbers, since a program reordered its palette: load it "
                "with colours=True"
            )
    return numbers.astype(np.uint8)


def _by_colour(image: Image.Image, name: str) -> np.ndarray:
    pixels = np.asarray(image.convert("RGB"), np.uint32) @ np.array([65536, 256, 1], np.uint32)
    known = LABEL_COLOURS.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    order = np.argsort(known)
    found = order[np.searchsorted(known, pixels, sorter=order).clip(max=len(known) - 1)]
    strange = known[found] != pixels
    if strange.any():
        row, column = np.argwhere(strange)[0]
        raise PhotoError(
            f"{name} has {strange.sum()} pixels whose colour stands for no class, the first at ({column}, {row}): "
            "paint with the colours of swaplib's masks alone, with a hard brush and without smoothing"
        )
    return found.astype(np.uint8)
