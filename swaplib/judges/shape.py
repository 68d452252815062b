"""Head shape, expression and pose from a picture: a regressor to a linear model of the parametric head.

    x ── trunk ── linear ──┬─ shape s (whitened)        neutral points  X(s) = X₀ + S s
                           ├─ expression e (whitened)   displacements   E e
                           ├─ pose, degrees             points in view  R(pose) (X(s) + E e)
                           └─ camera: scale, shift      landmarks       scale · view + shift

It takes the place of the licence-bound 3-D morphable models that Smooth-Swap measures with and LatentSwap learns from:
S and E are the principal components of our own head's shapes and expressions (`judges.shape_model`). Everything that it
learns from is known for rendered faces; photographs, where some are mixed in, teach only landmarks.

Distances are in millimetres, relative to the midpoint of the eyeballs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from swaplib.data import Dataset
from swaplib.faces import Faces
from swaplib.judges.augment import augment
from swaplib.judges.base import Judge
from swaplib.judges.shape_model import MM, find_true_points, load_basis
from swaplib.networks.resnet import Basic, ResNet, resnet50
from swaplib.synthetic import head
from swaplib.training.model import Phase, Stage, cosine

Codes = dict[str, torch.Tensor]
"""shape (B, S), expression (B, E), pose (B, 3) in degrees: pitch, yaw, roll; camera (B, 3): half-widths of the picture
per 100 mm, and the place of the eyes' midpoint, in [-1, 1]."""


@dataclass(frozen=True)
class Config:
    """Sizes, loss weights and training."""

    size: int = 224  # pixels, as Deep3DFaceRecon's
    trunk: Literal["resnet50", "narrow"] = "resnet50"
    width: int = 64  # channels of a narrow trunk's first level
    blocks: tuple[int, int, int, int] = (1, 1, 1, 1)  # of a narrow trunk's levels
    pooled: bool = False  # whether a narrow trunk halves its first maps, as ResNet-50 does
    shapes: int = 80  # principal components
    expressions: int = 32
    points: int = 256  # on the face, besides the landmarks
    shape: float = 1  # mean distance of the neutral points, mm
    expression: float = 1  # of the displacements, mm
    pose: float = 0.5  # mean absolute difference, degrees
    landmarks: float = 100  # mean distance in the picture, in half-widths
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    augmented: bool = True
    batch: int = 64
    steps: int = 100_000

    @classmethod
    def paper(cls) -> Config:
        """Return a regressor as large as the one that LatentSwap learns from."""
        return cls()

    @classmethod
    def demo(cls) -> Config:
        """Return sizes for a CPU: 128 px."""
        return cls(
            size=128, trunk="narrow", width=32, blocks=(2, 2, 2, 2), pooled=True, shapes=60, expressions=24, batch=48,
            steps=20_000,
        )  # fmt: skip

    @classmethod
    def smoke(cls) -> Config:
        return replace(
            cls.demo(),
            size=32,
            width=8,
            blocks=(1, 1, 1, 1),
            pooled=False,
            shapes=8,
            expressions=8,
            points=32,
            augmented=False,
            batch=4,
            steps=20,
        )


def fit_camera(view: torch.Tensor, marks: torch.Tensor) -> torch.Tensor:
    """Return scale and shift (B, 3) that best map points in view (B, N, 3), mm, to landmarks (B, N, 2) in [-1, 1].

    By least squares.
    """
    flat = view[..., :2] * view.new_tensor([1, -1]) / MM
    centre, middle = flat.mean(1, keepdim=True), marks.mean(1, keepdim=True)
    scale = ((flat - centre) * (marks - middle)).sum((1, 2)) / (flat - centre).square().sum((1, 2))
    return torch.cat([scale[:, None], (middle - centre * scale[:, None, None])[:, 0]], 1)


# ---------------------------------------------------------------------------------------------------------- judge


class Shape(Judge):
    """Maps pictures in portrait framing to shape, expression and pose.

    Training needs landmarks, and factors as rendered faces have them; where these are NaN, only the landmarks teach.
    """

    name = "shape"
    Config = Config
    mirrored = False  # a mirrored face's factors are unknown

    def __init__(self, config: Config):
        super().__init__(config)
        narrow = config.trunk == "narrow"
        self.trunk = ResNet(Basic, config.blocks, config.width, config.pooled) if narrow else resnet50()
        self.sizes = {"shape": config.shapes, "expression": config.expressions, "pose": 3, "camera": 3}
        self.head = nn.Linear(self.trunk.outputs, sum(self.sizes.values()))
        basis = load_basis(config.shapes, config.expressions, config.points)
        for name, part in zip(("mean", "shapes", "expressions"), basis, strict=True):
            self.register_buffer(name, part)

    def forward(self, images: torch.Tensor) -> Codes:  # (B, 3, H, W) -> (B, S), (B, E), (B, 3), (B, 3)
        """Return codes, float32, of images (B, 3, H, W) in [-1, 1]."""
        out = self.head(self.trunk(self.seen(images))).float()
        codes = dict(zip(self.sizes, out.split(tuple(self.sizes.values()), 1), strict=True))
        codes["pose"] = codes["pose"] * 10
        codes["camera"] = codes["camera"] + codes["camera"].new_tensor([0.8, 0, 0])
        return codes

    def neutral(self, shape: torch.Tensor) -> torch.Tensor:
        """Return X(s): points of the face at rest, (B, P, 3), mm."""
        return self.mean + torch.einsum("bs,spc->bpc", shape, self.shapes)

    def displacement(self, expression: torch.Tensor) -> torch.Tensor:
        """Return E e: what the expression adds, (B, P, 3), mm."""
        return torch.einsum("be,epc->bpc", expression, self.expressions)

    def view(self, codes: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return R (X(s) + E e): points as the camera sees them, (B, P, 3), mm; the first 68 are the landmarks.

        Codes of two faces may be combined: LatentSwap's shape loss takes one's shape, the other's rest.
        """
        points = self.neutral(codes["shape"]) + self.displacement(codes["expression"])
        return points @ head.rotation(codes["pose"]).transpose(1, 2)

    def landmarks(self, codes: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the 68 landmarks in the picture, (B, 68, 2), in [-1, 1] over its width."""
        scale, shift = codes["camera"][:, :1, None], codes["camera"][:, None, 1:]
        return self.view(codes)[:, :68, :2] * codes["camera"].new_tensor([1, -1]) / MM * scale + shift

    @torch.no_grad()
    def measure(self, images: torch.Tensor) -> Codes:
        """Return codes, without gradients."""
        return self(images)

    def report(self, dataset: Dataset) -> dict[str, float]:
        """Measure mean errors on a dataset.

        Inner landmarks in % of the distance of the outer corners of the eyes; for rendered faces also shape and
        expression in mm, yaw, pitch and roll in degrees.
        """
        sums: dict[str, list[torch.Tensor]] = {}
        for faces in dataset.batches(32):
            for name, values in self.errors(faces).items():
                sums.setdefault(name, []).append(values)
        return {name: float(torch.cat(values).mean()) for name, values in sums.items()}

    def errors(self, faces: Faces) -> dict[str, torch.Tensor]:
        """Measure the same errors for each face, (B,)."""
        codes = self.measure(faces.images)
        marks = (faces.landmarks + 0.5) / faces.size[1] * 2 - 1
        eyes = (marks[:, 36] - marks[:, 45]).norm(dim=1)
        missed = (self.landmarks(codes) - marks)[:, 17:].norm(dim=-1).mean(1)
        found = {"landmarks": 100 * missed / eyes}
        if faces.factors is not None:
            still, moved = find_true_points(faces.factors, self.config.points)
            found["shape"] = (self.neutral(codes["shape"]) - still).norm(dim=-1).mean(1)
            found["expression"] = (self.displacement(codes["expression"]) - moved).norm(dim=-1).mean(1)
            turns = (codes["pose"] - faces.factors["pose"]).abs().unbind(1)
            found |= dict(zip(("pitch", "yaw", "roll"), turns, strict=True))
        return found

    def phases(self) -> list[Phase]:
        rate, betas = self.config.learning_rate, self.config.betas
        return [Phase("regressor", self.parameters(), self._losses, learning_rate=rate, betas=betas)]

    @classmethod
    def stages(cls, config: Config) -> list[Stage]:
        return [Stage("whole", config, 1.0, cosine(1, 0.02))]

    def _losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        if faces.landmarks is None or faces.factors is None:
            raise ValueError("learning shapes needs faces.landmarks and faces.factors: train on rendered faces")
        if self.config.augmented:
            faces = augment(faces, turn=0, shift=0.08, scale=0.15, mirror=False)
        codes = self(faces.images)
        known = ~faces.factors["pose"].isnan().any(1)
        factors = {group: values[known] for group, values in faces.factors.items()}
        still, moved = find_true_points(factors, self.config.points)
        found = {name: code[known] for name, code in codes.items()}
        marks = (faces.landmarks + 0.5) / faces.size[1] * 2 - 1
        # The visible contour of a turned head is not at fixed points: the jaw is left out.
        inner = slice(17, 68)
        missed = (self.landmarks(codes)[:, inner] - marks[:, inner]).norm(dim=-1)
        terms = {
            "shape": (self.neutral(found["shape"]) - still).norm(dim=-1),
            "expression": (self.displacement(found["expression"]) - moved).norm(dim=-1),
            "pose": (found["pose"] - factors["pose"]).abs(),
            "landmarks": missed,
        }
        return {name: values.sum() / max(values.numel(), 1) for name, values in terms.items()}


# ---------------------------------------------------------------------------------------------- distances


def differences(judge: Shape, one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> Codes:
    """Return how far two faces are apart: shape and expression in mm, pose in degrees, (B,) each.

    Shape and expression are means over the points. The pose's is the angle of the rotation that turns one head into the
    other.
    """
    turn = head.rotation(one["pose"]).transpose(1, 2) @ head.rotation(other["pose"])
    cosine = (turn.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    return {
        "shape": (judge.neutral(one["shape"]) - judge.neutral(other["shape"])).norm(dim=-1).mean(1),
        "expression": (judge.displacement(one["expression"]) - judge.displacement(other["expression"]))
        .norm(dim=-1)
        .mean(1),
        "pose": cosine.clamp(-1, 1).acos().rad2deg(),
    }
