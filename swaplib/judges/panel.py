"""What our judges say of a swap: whose identity, whose head shape, whose expression and pose (Smooth-Swap, Table 1).

Kim et al. 2022 (arXiv:2112.05907), §5.2, measure identity and shape against the source, expression and pose against
the target; each also relatively ("-R"): d(swap, wanted) / (d(swap, source) + d(swap, target)), 0 for the wanted face
itself, 1/2 between the two. Where they have VGGFace2's and ArcFace's embedders and a licence-bound 3-D model, we have
our embedders (`judges.identity`) and our own model (`judges.shape`); for HopeNet's pose, that of dlib's landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch

from swaplib import judges, photos, synthetic
from swaplib.faces import Faces, region, to_uint8
from swaplib.judges import perceptual, shape

EMBEDDERS = {"smooth": "identity", "margin": "identity_margin"}
"""Column -> judge."""
COLOURED = ("skin", "hair")
"""Whose colours `colours` reads."""
OVERALL = ("smooth", "smooth_r", "shape", "shape_r", "expression", "expression_r", "pose", "pose_r", "pose_marks")
"""Smooth-Swap's nine: identity, shape, expression and pose with their relative ones, and a second pose."""


@cache
def _judge(name: str) -> judges.Judge | None:
    """A released judge, or nothing where it isn't."""
    judge = judges.frozen(name, "demo")
    return judge if judge.trained else None


Reading = dict[str, Any]
"""What the released judges see in pictures: an embedding (B, D) by each of `EMBEDDERS`, and the shape judge's codes; or
colours (B, 3)."""


def read(images: torch.Tensor) -> Reading:
    """What the judges see in pictures (B, 3, H, W) in [-1, 1], in portrait framing."""
    seen: Reading = {}
    for name, judge in EMBEDDERS.items():
        if embedder := _judge(judge):
            seen[name] = embedder.embed(Faces(images))
    if regressor := _judge("shape"):
        seen["form"] = regressor.measure(images)
    return seen


def colours(images: torch.Tensor) -> Reading:
    """The mean colour (B, 3) of skin and of hair, CIE L*a*b*, where the released parser finds them in pictures.

    NaN for pictures in which it finds less than 1% of that; nothing without a parser.
    """
    parser = _judge("parser")
    if parser is None:
        return {}
    labels = parser.parse(images)
    rgb = np.ascontiguousarray((images.float().cpu().clamp(-1, 1) + 1).movedim(1, -1).numpy() / 2)
    lab = torch.from_numpy(np.stack([cv2.cvtColor(one, cv2.COLOR_RGB2LAB) for one in rgb]))
    found = {}
    for name, classes in {"skin": ("skin", "nose"), "hair": ("hair",)}.items():
        mask = region(labels, *classes).cpu()[..., None]
        share = mask.float().mean((1, 2))
        mean = (lab * mask).sum((1, 2)) / mask.sum((1, 2)).clamp(min=1)
        found[name] = torch.where(share >= 0.01, mean, torch.nan)
    return found


def differences(one: Reading, other: Reading) -> dict[str, torch.Tensor]:
    """How far two readings are apart, name -> (B,): smooth, margin (distances of unit vectors), shape, expression (mm)
    and pose (degrees); skin and hair (ΔE of 1976) of those that have colours."""
    found = {name: (one[name] - other[name]).norm(dim=1) for name in (*EMBEDDERS, *COLOURED) if name in one}
    return found | (shape.differences(_judge("shape"), one["form"], other["form"]) if "form" in one else {})


def judged(images: torch.Tensor, source: Faces, target: Faces, truth: Faces | None = None) -> dict[str, torch.Tensor]:
    """Distances of swaps (B, 3, H, W) in [-1, 1], all in portrait framing; name -> (B,), NaN where a judge is missing.

    smooth, margin   identity: Euclidean distance of unit vectors to the source's, by two embedders
    shape            of the head at rest, mm to the source's; shape_true: to what is known of a rendered source
    expression       mm to the target's
    pose             degrees to the target's; pose_marks: of yaw and roll alone, by the landmarks that dlib finds
    …_r              the relative ones
    perceptual       feature distance to the true swap, where there is one
    """
    mine, theirs, others = (read(one) for one in (images, source.images, target.images))
    to_source, to_target = differences(mine, theirs), differences(mine, others)
    scores: dict[str, torch.Tensor] = {}
    for name in to_source:
        kept = name in ("expression", "pose")  # of the target
        scores |= _both(name, *((to_target[name], to_source[name]) if kept else (to_source[name], to_target[name])))
    if source.factors is not None and (regressor := _judge("shape")):
        still, _ = shape.true_points(source.factors, regressor.config.points)
        scores["shape_true"] = (regressor.neutral(mine["form"]["shape"]) - still).norm(dim=-1).mean(1)
    if truth is not None and (classifier := _judge("identity_linear")):
        with torch.no_grad():
            scores["perceptual"] = perceptual.features(classifier)(images, truth.images)
    return scores


def _both(name: str, wanted: torch.Tensor, other: torch.Tensor) -> dict[str, torch.Tensor]:
    return {name: wanted, f"{name}_r": wanted / (wanted + other)}


def overall(table: pd.DataFrame, rows: Sequence[str] | None = None) -> pd.Series:
    """Smooth-Swap's standardised overall score of the rows of a table: lower is better.

    The mean of the z-scores of nine columns (`OVERALL`). rows: whose mean and sample standard deviation (n − 1) are
    taken; all by default.
    """
    nine = table[list(OVERALL)]
    base = nine if rows is None else nine.loc[list(rows)]
    return ((nine - base.mean()) / base.std(ddof=1)).mean(1)


# ---------------------------------------------------------------------------------------------- pose by landmarks


@cache
def _mean_points() -> np.ndarray:
    """The 51 inner landmarks of the mean head, mm, as a camera has its axes: y down, z away."""
    factors = synthetic.sample_factors(200, seed=1, groups=("shape", "expression"))
    still, _ = shape.true_points(factors, 1)
    return (still.mean(0)[17:68] * torch.tensor([1.0, -1.0, -1.0])).double().numpy()


def turned(landmarks: np.ndarray, size: int) -> tuple[float, float]:
    """Yaw and roll, degrees, of the mean head that fits landmarks (68, 2) of a picture of so many pixels best.

    The camera's opening angle is taken for 20 degrees. Not the pitch: a long nose looks like a bowed head. NaN for
    landmarks that are not finite.
    """
    if not np.isfinite(landmarks).all():
        return np.nan, np.nan
    focal = size / 2 / np.tan(np.radians(10))
    camera = np.array([[focal, 0, (size - 1) / 2], [0, focal, (size - 1) / 2], [0, 0, 1]])
    _, turn, _ = cv2.solvePnP(_mean_points(), landmarks[17:68].astype(float), camera, None, flags=cv2.SOLVEPNP_SQPNP)
    matrix = cv2.Rodrigues(turn)[0] * np.outer([1, -1, -1], [1, -1, -1])  # the head's own axes
    yaw, roll = np.arctan2(matrix[0, 2], matrix[2, 2]), np.arctan2(matrix[1, 0], matrix[1, 1])
    return float(np.degrees(yaw)), float(np.degrees(roll))


def poses(images: torch.Tensor) -> torch.Tensor:
    """Yaw and roll of the faces that dlib finds in pictures (B, 3, H, W), (B, 2), degrees; NaN where it finds none."""
    found = [photos.detect(picture) for picture in to_uint8(images)]
    marks = [faces[0].landmarks if faces else np.full((68, 2), np.nan) for faces in found]
    return torch.tensor([turned(one, images.shape[-1]) for one in marks])
