"""From a painted mask to a picture: what the painter shows, without any widget."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cachetools import LRUCache
from PIL import Image, ImageDraw, ImageFont

from swaplib import figures, judges
from swaplib.faces import relabel, to_uint8
from swaplib.families import Codes, Family, Part
from swaplib.judges.parsing import label_faces
from swaplib.provenance import DigitalSource
from swaplib.studio import masks
from swaplib.studio.masks import Edit
from swaplib.studio.renderer import NoStateError, Pick, Renderer, number, read_state, side_by_side, stamp

# ---------------------------------------------------------------------------------------------- the state


@dataclass(frozen=True)
class Reference:
    """A face that lends its code for one part: all of it at strength 1, nothing at 0."""

    face: Pick
    strength: float = 1.0

    def __post_init__(self):
        if not 0 <= number("the strength of a reference", self.strength) <= 1:
            raise ValueError(f"the strength of a reference must lie between 0 and 1, got {self.strength}")


@dataclass(frozen=True)
class Painting:
    """Everything that a painted picture depends on, apart from the family.

    face        whose mask is painted
    edits       what is done to the mask, in order
    references  part -> the face that lends its code for it
    """

    face: Pick = field(default_factory=Pick)
    edits: tuple[Edit, ...] = ()
    references: Mapping[str, Reference] = field(default_factory=dict)

    def to_json(self) -> str:
        references = {part: asdict(reference) for part, reference in self.references.items()}
        values = {"face": asdict(self.face), "edits": [edit.record for edit in self.edits], "references": references}
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Painting:
        """Read the painting that `to_json` wrote. Raises ValueError, in one sentence, for anything else."""
        try:
            values = read_state(text)
            face = Pick(**values.pop("face"))
            edits = tuple(Edit.from_record(record) for record in values.pop("edits"))
            references = {
                part: Reference(Pick(**reference["face"]), reference["strength"])
                for part, reference in values.pop("references").items()
            }
            return cls(face, edits, references, **values)
        except (NoStateError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no saved painting ({error}): save one with `save state`") from error

    @property
    def picks(self) -> list[Pick]:
        """All faces that have a share in the picture."""
        return [self.face, *(reference.face for reference in self.references.values())]


# ---------------------------------------------------------------------------------------------- parts and regions


def mask_part(family: Family) -> Part:
    """Return the part that holds the label map. Raises ValueError for a family without one."""
    found = [part for part in family.parts if part.geometry == "labels"]
    if not found:
        raise ValueError(f"{family.name} keeps no mask among its parts, so there is nothing to paint on")
    return found[0]


def texture_part(family: Family, region: str) -> str | None:
    """Return the part that holds the look of a region, one of CelebAMask-HQ's classes; None where no part does.

    Raises ValueError for an unknown region.
    """
    masks.label(region)
    return next((part.name for part in family.parts if region in part.regions), None)


# ---------------------------------------------------------------------------------------------- the renderer


class PaintRenderer:
    """Turns paintings into pictures, uint8 RGB (size, size, 3), for any family that keeps a mask among its parts.

    size: edge of the pictures in pixels; None for the family's own.
    faces: the `Renderer` that finds, prepares and encodes faces.
    Raises ValueError for a family without a mask.
    """

    def __init__(self, family: Family, size: int | None = None):
        self.family, self.part = family, mask_part(family)
        self.faces = Renderer(family, size, directions={})
        self.textures = [part.name for part in family.parts if part.geometry != "labels"]
        self._masks: LRUCache[bytes, np.ndarray] = LRUCache(maxsize=64)

    def first_mask(self, pick: Pick) -> np.ndarray:
        """Return the mask of a face, uint8 (H, W): its own labels, or what the released parser finds."""
        return masks.checked(label_faces(self.faces.faces(pick), judges.load_for_photographs("parser"))[0].cpu())

    def mask(self, state: Painting) -> np.ndarray:
        """Return the painted mask, uint8 (H, W), applying only the edits since the last mask still cached."""
        start = hash((state.face, stamp(state.face)))
        keys = list(accumulate(state.edits, lambda key, edit: hash((key, edit.text)), initial=start))
        known = max((k for k, key in enumerate(keys) if key in self._masks), default=0)
        mask = self._masks[keys[known]] if keys[known] in self._masks else self.first_mask(state.face)
        for key, edit in zip(keys[known + 1 :], state.edits[known:], strict=True):
            mask = self._masks[key] = edit.apply(mask)
        return mask

    def codes(self, state: Painting) -> Codes:
        """Return the codes of a painting, a batch of one."""
        codes = self.faces.encode(state.face)
        for part, reference in state.references.items():
            if part not in self.textures:
                raise ValueError(f"no part {part!r} to take from a reference: there are {', '.join(self.textures)}")
            if reference.strength > 0:
                codes = self.family.mix(self.faces.encode(reference.face), codes, {part: reference.strength})
        mask = relabel(torch.from_numpy(self.mask(state).copy())[None], target=self.part.order)
        return codes | {self.part.name: mask.to(codes[self.part.name])}

    @torch.no_grad()
    def render(self, state: Painting) -> np.ndarray:
        """Return the picture of a painting. The same painting always gives the same picture."""
        return to_uint8(self.family.decode(self.codes(state))[0])

    def seconds(self, state: Painting, frames: int = 3) -> float:
        """Return the median time of one frame with cached encodings, in seconds."""
        self.render(state)
        times = []
        for _ in range(frames):
            start = time.perf_counter()
            self.render(state)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    def digital_source(self, state: Painting) -> DigitalSource:
        """Return how a picture was made, as its metadata will say."""
        if next(self.family.parameters(), None) is not None:
            return "generated"
        return "rendered" if all(pick.rendered for pick in state.picks) else "composite"

    def story(self, state: Painting) -> str:
        """Return what a saved picture records about itself. It names photographs, but not their folders."""
        regions = sorted({edit.arguments["region"] for edit in state.edits if "region" in edit.arguments})
        told: dict[str, Any] = {"face": _named(state.face), "edits": len(state.edits), "regions": regions}
        told["references"] = {part: [_named(one.face), one.strength] for part, one in state.references.items()}
        return f"Family {self.family.name}, mask painted, {json.dumps(told, ensure_ascii=False)}"


def _named(pick: Pick) -> dict[str, Any]:
    if pick.rendered:
        return {"kind": pick.kind, "seed": pick.seed, "number": pick.number, "world": pick.world}
    return {"kind": pick.kind, "file": Path(pick.path).name} | ({"face": pick.face} if pick.face else {})


def still(renderer: PaintRenderer, state: Painting, edge: int = 176) -> np.ndarray:
    """Draw what the painter shows, as one picture: the face, its mask, the painted mask, pictures, references."""
    shown = {
        "face": renderer.faces.face(state.face),
        "its mask": figures.colour_labels(renderer.first_mask(state.face)),
        "painted": figures.colour_labels(renderer.mask(state)),
        "picture before": renderer.render(replace(state, edits=(), references={})),
        "picture": renderer.render(state),
    }
    for part, reference in state.references.items():
        shown[f"{part} by"] = renderer.faces.face(reference.face)
    names, label = list(shown), 20
    rows = [names[first : first + 5] for first in range(0, len(names), 5)]
    sheet = np.full((len(rows) * (label + edge), 5 * (edge + 4) - 4, 3), 255, np.uint8)
    for k, row in enumerate(rows):
        strip = side_by_side([shown[name] for name in row], edge)
        sheet[k * (label + edge) + label : (k + 1) * (label + edge), : strip.shape[1]] = strip
    canvas = Image.fromarray(sheet)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for k, name in enumerate(names):
        place = (k % 5 * (edge + 4), k // 5 * (label + edge) + 1)
        draw.text(place, name.replace("_", " "), fill=figures.INK, font=font)
    return np.asarray(canvas)
