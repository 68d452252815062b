"""Judges of swaps: identity, head shape, expression and pose (Smooth-Swap, Table 1), and what users add.

Kim et al. 2022 (arXiv:2112.05907), §5.2, measure identity and shape against the source, expression and pose against
the target; each also relatively ("-R"): d(swap, wanted) / (d(swap, source) + d(swap, target)), 0 for the wanted face
itself, 1/2 between the two. Where they have VGGFace2's and ArcFace's embedders and a licence-bound 3-D model, we have
our embedders (`judges.identity`) and our own model (`judges.shape`). Owners of published files can measure with those,
too:

    metrics.measure(names, judges=Judges.released().with_files(identity="model_ir_se50.pth"))
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal, Protocol, TypeVar

import cv2
import numpy as np
import torch
from torch import nn

from swaplib import photos
from swaplib.faces import Faces, region
from swaplib.judges import perceptual, registry, shape, shape_model
from swaplib.judges.shape import Shape
from swaplib.weights import OFFICIAL

OURS = {"smooth": "identity", "margin": "identity_margin"}
"""Column -> our embedder of that column."""
COLOURED = ("skin", "hair")
"""Regions whose colours `Judges.colours` reads."""
FILES = {
    "identity": ("embedders", ("ir_se50", "latentswap_embedder")),
    "parser": ("parsers", ("bisenet", "helen")),
    "perceptual": ("perceptual", ("lpips",)),
}
"""What `Judges.with_files` calls a published judge -> the field that it enters, and the judges that it may be."""
_TAKEN = (*COLOURED, "shape", "expression", "pose", "form", "pixels")  # other entries of a reading

Reading = dict[str, Any]
"""What judges see in pictures: an embedding (B, D) by each embedder, and the shape judge's codes; or colours (B, 3)."""
Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Images (B, 3, H, W) twice, in [-1, 1] -> (B,), 0 for equal pictures."""
Network = TypeVar("Network", bound=nn.Module)


class Embedder(Protocol):
    """A network that tells people apart by vectors (B, D)."""

    def embed(self, faces: Faces) -> torch.Tensor: ...


class Parser(Protocol):
    """A network that finds labels (B, H, W) in images (B, 3, H, W)."""

    def parse(self, images: torch.Tensor) -> torch.Tensor: ...


@dataclass(frozen=True)
class Metric:
    """One column of the comparison table: its name, its heading, which way is better, and its meaning."""

    name: str
    title: str
    better: Literal["higher", "lower"]
    meaning: str


RELATIVE = "the same, divided by the sum of the distances to source and target"
"""What a relative column means."""
# Columns of judges that were handed in: prefix of the column -> heading, which way is better, and meaning.
_ADDED = {
    "identity": ("id. {}", "lower", "distance of {}'s vectors, to the source"),
    "identity_r": ("id. {}-R", "lower", RELATIVE),
    "parsing": (
        "parsing {}",
        "higher",
        "share of pixels in which {} finds the true swap's region, or the target's where no true swap is known",
    ),
    "perceptual": ("perceptual {}", "lower", "{}'s distance to the true swap"),
}


def describe(column: str) -> Metric | None:
    """Describe a column that a user's judge adds, such as "identity:ir_se50"; return None for any other one."""
    prefix, colon, judge = column.partition(":")
    if not colon or prefix not in _ADDED:
        return None
    title, better, meaning = _ADDED[prefix]
    return Metric(column, title.format(judge), better, meaning.format(judge))


@dataclass(frozen=True)
class Judges:
    """The networks that a table measures with. A network that is left out leaves its columns out.

    embedders    column -> embedder; "smooth" and "margin" are our own
    parser       finds the skin and hair whose colours `colours` reads
    shape        head shape, expression and pose
    perceptual   column -> distance of two pictures; "perceptual" is our own
    parsers      column -> further parsers, whose regions in swap and true swap are compared
    device       where the networks are; pictures may be anywhere

    Pictures are in portrait framing. Embedders that crop a face by its landmarks (ir_se50) use the mean face's for
    pictures without landmarks.
    """

    embedders: Mapping[str, Embedder] = field(default_factory=dict)
    parser: Parser | None = None
    shape: Shape | None = None
    perceptual: Mapping[str, Distance] = field(default_factory=dict)
    parsers: Mapping[str, Parser] = field(default_factory=dict)
    device: str | torch.device = "cpu"

    def __post_init__(self):
        if taken := [name for name in self.embedders if name in _TAKEN]:
            raise ValueError(f"an embedder can't be called {taken[0]!r}, as another reading is: choose another name")

    @classmethod
    def released(cls, preset: str = "demo", device: str | torch.device = "cpu") -> Judges:
        """Take our own judges, those whose weights are available; at the preset "official" all imported ones as well.

        On the CPU these are the networks that everybody else who asks for them shares.
        """

        ours = "demo" if preset == OFFICIAL else preset

        def find(name: str) -> nn.Module | None:
            judge = registry.frozen(name, ours)
            return _put(judge, device) if judge.trained else None

        embedders = {column: judge for column, name in OURS.items() if (judge := find(name))}
        classifier = find("identity_linear")
        distances = {"perceptual": perceptual.feature_distance(classifier)} if classifier else {}
        found = cls(embedders, find("parser"), find("shape"), distances, device=device)
        there = registry.PUBLISHED.ready(OFFICIAL) if preset == OFFICIAL else ()
        for place, names in FILES.values():
            imported = {
                name: _put(registry.PUBLISHED.frozen(name, OFFICIAL), device) for name in names if name in there
            }
            found = replace(found, **{place: {**getattr(found, place), **imported}}) if imported else found
        return found

    def with_files(self, **files: str | os.PathLike) -> Judges:
        """Add a user's published judges, each under its network's name.

        identity: IR-SE50's or LatentSwap's embedder. parser: BiSeNet, or the parser of Mask-Guided Portrait Editing.
        perceptual: AlexNet, for LPIPS. Raises ValueError for another keyword, for a file of something else and for a
        judge that is there already; FileNotFoundError.
        """
        added = self
        for kind, path in files.items():
            if kind not in FILES:
                raise ValueError(f"unknown kind of judge {kind!r}: choose one of {', '.join(FILES)}")
            judge = registry.load_official(path)
            place, names = FILES[kind]
            if judge.name not in names:
                right = next(other for other, (_, theirs) in FILES.items() if judge.name in theirs)
                raise ValueError(f"{path} holds {judge.name}, which is no judge of {kind}: give it as {right}")
            known = getattr(added, place)
            if judge.name in known:
                raise ValueError(f"{path} holds {judge.name}, which is among the judges already: give it once")
            added = replace(added, **{place: {**known, judge.name: judge.to(self.device)}})
        return added

    def columns(self) -> tuple[Metric, ...]:
        """Return the columns that these judges add to the table's own, in order."""
        names = [f"{prefix}:{name}" for name in self.embedders if name not in OURS
                 for prefix in ("identity", "identity_r")]  # fmt: skip
        names += [f"parsing:{name}" for name in self.parsers]
        names += [f"perceptual:{name}" for name in self.perceptual if name != "perceptual"]
        return tuple(describe(name) for name in names)

    def read(self, images: torch.Tensor | Faces) -> Reading:
        """Return what embedders and the shape judge see in pictures (B, 3, H, W) in [-1, 1], or in faces."""
        faces = Faces(images) if isinstance(images, torch.Tensor) else images
        faces = Faces(faces.images, landmarks=faces.landmarks).to(self.device)
        if faces.landmarks is None and not OURS.keys() >= self.embedders.keys():
            faces = replace(faces, landmarks=_mean_landmarks(faces.size).expand(len(faces), -1, -1))
        seen: Reading = {name: judge.embed(faces) for name, judge in self.embedders.items()}
        if self.shape is not None:
            seen["form"] = self.shape.measure(faces.images)
        return seen

    def colours(self, images: torch.Tensor) -> Reading:
        """Return the mean colour (B, 3) of skin and of hair, CIE L*a*b*, where the parser finds them in pictures.

        NaN for pictures in which it finds less than 1% of that; empty without a parser.
        """
        if self.parser is None:
            return {}
        labels = self.parser.parse(images.to(self.device))
        rgb = np.ascontiguousarray((images.float().cpu().clamp(-1, 1) + 1).movedim(1, -1).numpy() / 2)
        lab = torch.from_numpy(np.stack([cv2.cvtColor(one, cv2.COLOR_RGB2LAB) for one in rgb]))
        found = {}
        for name, classes in {"skin": ("skin", "nose"), "hair": ("hair",)}.items():
            mask = region(labels, *classes).cpu()[..., None]
            share = mask.float().mean((1, 2))
            mean = (lab * mask).sum((1, 2)) / mask.sum((1, 2)).clamp(min=1)
            found[name] = torch.where(share >= 0.01, mean, torch.nan)
        return found

    def differences(self, one: Reading, other: Reading) -> dict[str, torch.Tensor]:
        """Return the distances of two readings, name -> (B,).

        By the embedders' names, distances of vectors; shape and expression (mm), pose (degrees); skin and hair (ΔE of
        1976) of readings that have colours.
        """
        found = {name: (one[name] - other[name]).norm(dim=1) for name in (*self.embedders, *COLOURED) if name in one}
        if "form" in one and self.shape is not None:
            found |= shape.differences(self.shape, one["form"], other["form"])
        return {name: values.cpu() for name, values in found.items()}

    def score(
        self,
        images: torch.Tensor,
        source: Faces,
        target: Faces,
        truth: Faces | None = None,
        known: tuple[Reading, Reading] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Score swaps (B, 3, H, W) in [-1, 1], all in portrait framing and of one size; column -> (B,).

        smooth, margin   identity: Euclidean distance of unit vectors to the source's, by two embedders
        identity:…       the same by an embedder that was handed in
        shape            of the head at rest, mm to the source's; shape_true: to the known one of a rendered source
        expression       mm to the target's
        pose             degrees to the target's
        …_r, identity_r:…   the relative ones
        perceptual, perceptual:…   distance to the true swap, where there is one
        parsing:…        share of pixels with the true swap's region; with the target's where there is no true swap

        known: readings of source and target, where they have been taken already.
        """
        # A swap shows the target's shot: its landmarks are the target's.
        shown = Faces(images, landmarks=target.landmarks)
        mine = self.read(shown)
        theirs, others = known or (self.read(source), self.read(target))
        to_source, to_target = self.differences(mine, theirs), self.differences(mine, others)
        scores: dict[str, torch.Tensor] = {}
        for name in to_source:
            kept = name in ("expression", "pose")  # of the target
            wanted, other = (to_target[name], to_source[name]) if kept else (to_source[name], to_target[name])
            added = name in self.embedders and name not in OURS
            plain, relative = (f"identity:{name}", f"identity_r:{name}") if added else (name, f"{name}_r")
            scores |= {plain: wanted, relative: wanted / (wanted + other)}
        if source.factors is not None and self.shape is not None:
            scores["shape_true"] = self._shape_true(mine["form"]["shape"], source)
        wanted = target if truth is None else truth
        return scores | self._compare(images.to(self.device), wanted.images.to(self.device), truth is not None)

    def _shape_true(self, codes: torch.Tensor, source: Faces) -> torch.Tensor:
        """Return the distance of heads at rest to those that the sources are known to have, mm, (B,)."""
        still = shape_model.find_resting_points(source.factors, self.shape.config.points)
        return (self.shape.neutral(codes) - still.to(codes.device)).norm(dim=-1).mean(1).cpu()

    @torch.no_grad()
    def _compare(self, images: torch.Tensor, wanted: torch.Tensor, known: bool) -> dict[str, torch.Tensor]:
        """Compare swaps with the wanted pictures one by one; perceptual distances only where these are `known`."""
        scores = {}
        for name, parser in self.parsers.items():
            same = parser.parse(images) == parser.parse(wanted)
            scores[f"parsing:{name}"] = same.float().mean((1, 2)).cpu()
        for name, distance in self.perceptual.items() if known else ():
            scores[name if name == "perceptual" else f"perceptual:{name}"] = distance(images, wanted).cpu()
        return scores


def _put(network: Network, device: str | torch.device) -> Network:
    """Return a network on a device: itself on the CPU, else a copy, as moving it would move it for all its users."""
    return network if torch.device(device).type == "cpu" else deepcopy(network).to(device)


@cache
def _mean_landmarks(size: tuple[int, int]) -> torch.Tensor:
    """Return the mean head's landmarks (68, 2) from the front in portrait framing; size: height and width."""
    points = shape_model.find_mean_landmarks()[:, :2] * np.array([1.0, -1.0])
    matrix = photos.alignment(points, "portrait", size[0])
    return torch.from_numpy(photos.move(points, matrix)).float()
