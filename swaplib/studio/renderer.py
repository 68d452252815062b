"""From a state to a picture: what the studio shows, without any widget."""

from __future__ import annotations

import hashlib
import io
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from cachetools import LRUCache
from PIL import Image, ImageDraw, ImageFont

from swaplib import figures, latent, photos, synthetic
from swaplib.faces import Faces, to_uint8
from swaplib.families import Codes, Family, Overlay
from swaplib.foreign import parse_json, read_text
from swaplib.latent import layers
from swaplib.provenance import DigitalSource

# ---------------------------------------------------------------------------------------------- the state

UPLOADED_BYTES = 128 << 20
"""How much of the uploaded pictures a session keeps."""
T = TypeVar("T")
KINDS = {"rendered": "rendered", "file": "photograph", "upload": "upload"}


class NoStateError(ValueError):
    """Text that is no JSON object of finite numbers."""


def read_state(text: str) -> dict[str, Any]:
    """Return the fields of a saved state. Raises NoStateError."""
    try:
        values = parse_json(text)
    except ValueError as error:
        raise NoStateError(str(error)) from error
    if not isinstance(values, dict):
        raise NoStateError("it holds no object")
    return values


def read_saved(path: str | os.PathLike, kind: type[T]) -> T:
    """Read a state that was saved, of a class with `from_json`. Raises as `foreign.read_text` does."""
    text = read_text(path, "a saved state", "save one with `save state`")
    try:
        return kind.from_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def number(name: str, value: Any) -> float:
    """Return a number of a state. Raises ValueError for what is none, or not finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 2**63:
        raise ValueError(f"{name} must be a finite number, got {value!r:.40}")
    return value


@dataclass(frozen=True)
class Pick:
    """Where a face comes from.

    kind      "rendered": face `number` of the series `seed` in `world`; "file": the photograph at `path`;
              "upload": a photograph of this session, known by its SHA-256, `path` being its name
    face      which one of a photograph's faces: 0 the largest
    """

    kind: str = "rendered"
    seed: int = 0
    number: int = 0
    world: str = "calm"
    path: str = ""
    sha256: str = ""
    face: int = 0

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of face {self.kind!r}: choose from {', '.join(KINDS)}")
        for name in ("seed", "number", "face"):
            if not isinstance(value := getattr(self, name), int) or not 0 <= value < 2**63:
                raise ValueError(f"seed, number and face count from 0, got {name} {value!r:.40}")
        if not isinstance(self.path, str) or "\0" in self.path:
            raise ValueError(f"the path of a photograph is text, got {self.path!r:.40}")
        if self.kind == "rendered" and self.world not in synthetic.WORLDS:
            raise ValueError(f"unknown world {self.world!r}: choose from {', '.join(synthetic.WORLDS)}")

    @property
    def rendered(self) -> bool:
        return self.kind == "rendered"


@dataclass(frozen=True)
class State:
    """Everything that a picture depends on, apart from the family.

    amounts    part -> 0 (the target's) to 1 (the source's); parts that are not named stay the target's
    strengths  edit direction -> how much of it is added
    random     part -> seed: the source's part is replaced by a random one
    along      position on the path from the target (0) to what amounts and strengths say (1)
    """

    source: Pick = Pick(number=0)
    target: Pick = Pick(number=1)
    amounts: dict[str, float] = field(default_factory=dict)
    strengths: dict[str, float] = field(default_factory=dict)
    random: dict[str, int] = field(default_factory=dict)
    along: float = 1.0

    def __post_init__(self):
        numbers = {"along": self.along} | {f"the amount of {name}": value for name, value in self.amounts.items()}
        for name, value in numbers.items():
            if not 0 <= number(name, value) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {value}")
        for name, value in self.strengths.items():
            number(f"the strength of {name}", value)
        for name, seed in self.random.items():
            if not isinstance(seed, int) or not 0 <= seed < 2**63:
                raise ValueError(f"the seed of {name} must be a whole number from 0 on, got {seed!r:.40}")

    def to_json(self) -> str:
        values = asdict(self)
        for role in ("source", "target"):
            values[role] = {name: value for name, value in values[role].items() if value != "" and name != "face"}
            if face := getattr(self, role).face:
                values[role]["face"] = face
        return json.dumps(values, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> State:
        """Read the state that `to_json` wrote. Raises ValueError, in one sentence, for anything else."""
        try:
            values = read_state(text)
            picks = {role: Pick(**values.pop(role)) for role in ("source", "target")}
            return cls(**picks, **values)
        except (NoStateError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no saved state of the studio ({error}): save one with `save state`") from error


class Slider(NamedTuple):
    """What a slider moves. kind: the field of a state, or "groups", several parts of `State.amounts` together."""

    kind: Literal["amounts", "groups", "strengths", "along"]
    name: str


ALONG = Slider("along", "all together")


def plain_swap(family: Family) -> dict[str, float]:
    """Return the amounts of a plain swap, every part named."""
    return {part.name: float(part.name in family.swap_parts) for part in family.parts}


# ---------------------------------------------------------------------------------------------- the renderer

PATH = 7
"""Pictures on the way from the target to the picture."""
THUMBNAIL = 240
"""Edge of what shows a photograph beside its controls, in pixels, at most."""


@dataclass(frozen=True)
class Crop:
    """Where in a photograph a face was taken.

    picture: the photograph made small, with the outline of what was taken, and other faces by number; uint8 RGB.
    shape: the photograph's height and width. faces: how many were found.
    """

    picture: np.ndarray
    shape: tuple[int, int]
    faces: int


class _Face(NamedTuple):
    faces: Faces
    note: str = ""
    crop: Crop | None = None


class Renderer:
    """Turns states into pictures, uint8 RGB (size, size, 3).

    size: edge of the pictures in pixels; None for the family's own. directions: name -> (part -> tensor of the part's
    shape at that size), as `latent.edit` takes them; None for the family's own.
    Raises ValueError for a size that the family can't take.
    """

    def __init__(self, family: Family, size: int | None = None, directions: Mapping[str, Codes] | None = None):
        if size not in (None, family.config.size) and not family.any_size:
            raise ValueError(f"{family.name} makes pictures of {family.config.size} pixels only, not of {size}")
        self.family = family
        self.size = size or family.config.size
        # The pictures of a session; the ones that were used least recently go where they are too many.
        self._uploads: LRUCache[str, bytes | Faces] = LRUCache(UPLOADED_BYTES, getsizeof=_count_bytes)
        self._device = next((parameter.device for parameter in family.parameters()), torch.device("cpu"))
        self.directions = dict(family.directions() if directions is None else directions)
        self.groups = {name: parts for name, parts in layers.group_parts(family).items() if len(parts) > 1}
        # Bounded: a texture and a picture at 256 pixels take two megabytes.
        self._prepare = lru_cache(maxsize=32)(self._prepare)
        self._encode = lru_cache(maxsize=16)(self._encode)
        self._sample = lru_cache(maxsize=16)(self._sample)
        self._true_swap = lru_cache(maxsize=16)(self._true_swap)
        self.generative = True
        try:
            self._sample(0)
        except ValueError:
            self.generative = False
        # Directions and random codes have the full size, so they fit no picture of another one.
        self.resizable = family.any_size and not self.directions and not self.generative

    def share_uploads(self, other: Renderer) -> None:
        """Take the session's pictures of another renderer, and give it one's own from now on."""
        self._uploads = other._uploads

    def upload(self, name: str, content: bytes) -> Pick:
        """Take a picture file's bytes into this session. Raises PhotoError if they are no picture."""
        refuse_large(name, len(content))
        try:
            with photos.open_image(io.BytesIO(content), name) as image:
                photos.load(image)
        except photos.PhotoError:
            raise
        except OSError as error:
            raise photos.PhotoError(f"{name} can't be read as a picture: upload a JPEG or PNG file") from error
        digest = hashlib.sha256(content).hexdigest()
        self._uploads[digest] = content
        return Pick("upload", path=name, sha256=digest)

    def take(self, faces: Faces, name: str = "the given face") -> Pick:
        """Take a face, a batch of one, into this session, as if it had been uploaded and prepared."""
        if len(faces) != 1:
            raise ValueError(f"{len(faces)} faces given: give one, as faces[0]")
        digest = hashlib.sha256(faces.images.cpu().numpy().tobytes())
        if faces.labels is not None:
            digest.update(faces.labels.cpu().numpy().tobytes())
        self._uploads[digest.hexdigest()] = faces
        return Pick("upload", path=name, sha256=digest.hexdigest())

    def faces(self, pick: Pick, size: int | None = None) -> Faces:
        """Return the picked face, a batch of one. Raises PhotoError for a photograph that can't be used."""
        size = size or self.size
        return self._prepare(pick, max(size, self.size), stamp(pick)).faces.resize(size)

    def face(self, pick: Pick) -> np.ndarray:
        """Return the picked face as it was prepared, uint8 RGB (size, size, 3)."""
        return to_uint8(self.faces(pick).images[0])

    def note(self, pick: Pick) -> str:
        """Return what was noted when a photograph was prepared; empty for a rendered face."""
        return self._prepare(pick, self.size, stamp(pick)).note

    def crop(self, pick: Pick) -> Crop | None:
        """Return where in a photograph the picked face was taken; None for a face that comes from none."""
        return self._prepare(pick, self.size, stamp(pick)).crop

    def encode(self, pick: Pick, size: int | None = None) -> Codes:
        """Return the picked face's codes, a batch of one."""
        return self._encode(pick, size or self.size, stamp(pick))

    def codes(self, state: State, size: int | None = None) -> Codes:
        """Return the mixed and edited codes of a state, a batch of one."""
        source, target = (self.encode(pick, size) for pick in (state.source, state.target))
        unknown = [name for name in state.random if name not in source]
        if unknown:
            raise ValueError(f"{self.family.name} has no part {unknown[0]!r}: its parts are {', '.join(source)}")
        source = source | {name: self._sample(seed)[name] for name, seed in state.random.items()}
        mixed = self.family.mix(source, target, {name: state.along * x for name, x in state.amounts.items()})
        for name, strength in state.strengths.items():
            if name not in self.directions:
                raise ValueError(f"no direction {name!r}: there are {', '.join(self.directions) or 'none'}")
            if strength * state.along != 0:
                mixed = latent.edit(self.family, mixed, self.directions[name], strength * state.along)
        return mixed

    def render(self, state: State, size: int | None = None) -> np.ndarray:
        """Return the picture of a state, laid over the target's. The same state always gives the same picture."""
        return to_uint8(self._overlay(state, size).over(self.faces(state.target, size).to(self._device))[0])

    @torch.no_grad()
    def _overlay(self, state: State, size: int | None) -> Overlay:
        codes = self.codes(state, size)
        return Overlay(self.family.decode(codes), self.family.cover(codes, self.encode(state.target, size)))

    def photograph(self, state: State) -> np.ndarray:
        """Return the target's photograph with the picture of a state in its place (`latent.swap_photographs`).

        It has its own size: uint8 RGB (H, W, 3), or RGBA where it is transparent. A family that takes any size draws
        the face as large as it is there, if that is larger than the studio's.
        Raises PhotoError where the target is no photograph.
        """
        photo = self._open(state.target)
        if photo is None:
            raise photos.PhotoError("the target is no photograph: choose one as the target first", "no photograph")
        into = photos.prepare(photo, self.family.framing, self.size, state.target.face)
        size = max(latent.measure_crop(into), self.size) if self.resizable else self.size
        if size != self.size:
            into = photos.prepare(photo, self.family.framing, size, state.target.face)
        return latent.lay_back(self._overlay(state, size), into, photo)

    def strip(self, state: State, steps: int = PATH) -> list[np.ndarray]:
        """Return pictures on the path from the target to the state's mix, whatever its `along`."""
        return [self.render(replace(state, along=k / (steps - 1))) for k in range(steps)]

    def find(self, name: str) -> Slider:
        """Return the slider of a part, a group of layers or a direction. Raises ValueError for another name."""
        amounts = [part.name for part in self.family.parts]
        known = {"amounts": amounts, "groups": list(self.groups), "strengths": list(self.directions)}
        for kind, names in known.items():
            if name in names:
                return Slider(kind, name)
        names = ", ".join(name for some in known.values() for name in some)
        raise ValueError(f"{self.family.name} has no slider {name!r}: there are {names}")

    def move(self, state: State, slider: Slider, value: float) -> State:
        """Return a state with one of its sliders moved to a value."""
        kind, name = slider
        if kind == "along":
            return replace(state, along=value)
        if kind == "groups":
            return replace(state, amounts=state.amounts | layers.choose_amounts(self.groups, {name: value}))
        return replace(state, **{kind: getattr(state, kind) | {name: value}})

    def true_swap(self, state: State) -> np.ndarray | None:
        """Return what a perfect swap of the two faces would show; None where one of them is a photograph."""
        both = state.source.rendered and state.target.rendered
        return self._true_swap(state.source, state.target) if both else None

    def seconds(self, state: State, frames: int = 5, size: int | None = None) -> float:
        """Return the median time of one frame with cached encodings, in seconds."""
        self.render(state, size)
        times = []
        for k in range(frames):
            start = time.perf_counter()
            self.render(replace(state, along=(k + 0.5) / frames), size)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    def digital_source(self, state: State) -> DigitalSource:
        """Return how a picture was made, as its metadata will say."""
        if next(self.family.parameters(), None) is not None:
            return "generated"
        return "rendered" if state.source.rendered and state.target.rendered else "composite"

    # Cached. `stamp` changes with a file, so that a picture replaced on disk is read again.

    def _prepare(self, pick: Pick, size: int, stamp: int) -> _Face:
        if pick.rendered:
            edge = min(max(size, 64), 512)  # the sizes that faces can be rendered at
            return _Face(synthetic.render_faces(1, pick.seed, pick.number, pick.world, edge))
        photo = self._open(pick)
        if photo is None:
            return _Face(self._uploads[pick.sha256])
        prepared = photos.prepare(photo, self.family.framing, size, pick.face or "largest")
        return _Face(prepared.faces, prepared.note, _show_crop(prepared))

    def _open(self, pick: Pick) -> Path | Image.Image | None:
        """Return a photograph as `photos.prepare` takes it; None for a face that comes from none."""
        if pick.rendered:
            return None
        if pick.kind == "file":
            if not pick.path:
                raise photos.PhotoError("no photograph named yet: write its path or choose one of the list", "missing")
            return Path(pick.path).expanduser()
        known = self._uploads.get(pick.sha256)
        if known is None:
            name = pick.path or "a picture"
            raise photos.PhotoError(f"{name} is not in this session: uploads are not kept, upload it (again)")
        return None if isinstance(known, Faces) else photos.open_image(io.BytesIO(known), pick.path)

    @torch.no_grad()
    def _encode(self, pick: Pick, size: int, stamp: int) -> Codes:
        return self.family.encode(self.faces(pick, size).to(self._device))

    @torch.no_grad()
    def _sample(self, seed: int) -> Codes:
        return self.family.sample(1, seed)

    def _true_swap(self, source: Pick, target: Pick) -> np.ndarray:
        truth = synthetic.true_swap(*(self._prepare(pick, self.size, 0).faces for pick in (source, target)))
        return to_uint8(truth.resize(self.size).images[0])


def refuse_large(name: str, length: int) -> None:
    """Raise PhotoError for a file of more bytes than a session keeps."""
    if length > UPLOADED_BYTES:
        told = f"{name} is larger than {UPLOADED_BYTES >> 20} MB: save a smaller copy and upload that"
        raise photos.PhotoError(told, "huge")


def _count_bytes(upload: bytes | Faces) -> int:
    return len(upload) if isinstance(upload, bytes) else upload.images.nbytes


def stamp(pick: Pick) -> int:
    path = Path(pick.path).expanduser()
    return path.stat().st_mtime_ns if pick.kind == "file" and path.is_file() else 0


# ---------------------------------------------------------------------------------------------- frames


def _show_crop(prepared: photos.Prepared) -> Crop:
    """Draw a photograph small, with the outline of what was taken, which may reach beyond it; number several faces."""
    photo, edge = prepared.photo, prepared.faces.size[0] - 0.5
    square = np.array([[-0.5, -0.5], [edge, -0.5], [edge, edge], [-0.5, edge]])
    taken = photos.move(square, np.linalg.inv(prepared.matrix))
    low, high = np.minimum(taken.min(0), -0.5), np.maximum(taken.max(0), np.array(photo.shape[1::-1]) - 0.5)
    scale = (THUMBNAIL - 4) / (high - low).max()
    matrix = np.array([[scale, 0, 2 - scale * low[0]], [0, scale, 2 - scale * low[1]], [0, 0, 1]])
    size = [max(1, round(scale * side)) for side in photo.shape[1::-1]]
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    canvas = Image.new("RGB", tuple(np.ceil(scale * (high - low)).astype(int) + 4), (150, 150, 150))
    canvas.paste(Image.fromarray(small), tuple(np.rint(matrix[:2, 2]).astype(int)))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    corners = [tuple(corner) for corner in photos.move(taken, matrix)]
    for colour, thick in (("black", 4), ("white", 2)):
        draw.line([*corners, *corners[:2]], fill=colour, width=thick, joint="curve")
    for k, one in enumerate(prepared.found if len(prepared.found) > 1 else ()):
        x, y = photos.move(np.array([[one.centre[0], one.box[3]]]), matrix)[0]
        draw.text((x, min(y, canvas.height - 16)), str(k), "white", font, "mt", stroke_width=3, stroke_fill="black")
    return Crop(np.asarray(canvas), photo.shape[:2], len(prepared.found))


def resized(image: np.ndarray, edge: int) -> np.ndarray:
    """Resize a square picture, uint8 RGB."""
    method = cv2.INTER_AREA if edge < len(image) else cv2.INTER_CUBIC
    return image if edge == len(image) else cv2.resize(image, (edge, edge), interpolation=method)


def jpeg(image: np.ndarray, quality: int = 88) -> bytes:
    """Encode uint8 RGB as the bytes of a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def side_by_side(images: Sequence[np.ndarray], edge: int, gap: int = 4) -> np.ndarray:
    """Put square pictures in a row on white, uint8 RGB (edge, width, 3)."""
    white = np.full((edge, gap, 3), 255, np.uint8)
    pieces = [piece for image in images for piece in (resized(image, edge), white)]
    return np.concatenate(pieces[:-1], axis=1)


def still(renderer: Renderer, state: State, edge: int = 192, path: Sequence[np.ndarray] | None = None) -> np.ndarray:
    """Draw what the studio shows, as one picture: source, target, picture, true swap; below them the path.

    path: its seven pictures, where they have been drawn already.
    """
    shown = {"source": renderer.face(state.source), "target": renderer.face(state.target)}
    shown["picture"] = renderer.render(state)
    if (truth := renderer.true_swap(state)) is not None:
        shown["true swap"] = truth
    top, width = side_by_side(list(shown.values()), edge), 4 * edge + 12
    path = side_by_side(renderer.strip(state) if path is None else path, (width - 24) // 7)
    label = 20
    sheet = np.full((2 * label + edge + len(path), width, 3), 255, np.uint8)
    sheet[label : label + edge, : top.shape[1]] = top
    sheet[2 * label + edge :, : path.shape[1]] = path
    canvas = Image.fromarray(sheet)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for k, name in enumerate(shown):
        draw.text((k * (edge + 4), 1), name, fill=figures.INK, font=font)
    draw.text((0, label + edge + 1), "the way from the target to the picture", fill=figures.INK, font=font)
    return np.asarray(canvas)
