"""Who a swapped picture shows, by dlib, and its pose; what is left of a face that was swapped and swapped back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import torch

from swaplib import families, photos
from swaplib.faces import Faces, to_uint8
from swaplib.families import Family
from swaplib.judges import shape_model
from swaplib.metrics.image import SIZE, absolute_error, ms_ssim, resized

OVERALL = ("smooth", "smooth_r", "shape", "shape_r", "expression", "expression_r", "pose", "pose_r", "pose_marks")
"""Smooth-Swap's nine: identity, shape, expression and pose, each with its relative form, and a second pose."""


def score_identity(swapped: Faces, source: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """Measure identity by dlib: squared Euclidean distances of its descriptors, (B,) each; NaN where it finds no face.

    source, target: their descriptors (B, 128), from `photos.describe`. Landmarks, where the swapped faces have
    them, decide which part of a picture dlib describes.
    """
    return compare_identity(photos.describe(swapped), source, target)


def compare_identity(found: torch.Tensor, source: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """Compare descriptors (B, 128) of swaps with those of sources and targets; see `score_identity`."""
    to_source, to_target = ((found - other).pow(2).sum(-1) for other in (source, target))
    nearer = torch.where(torch.isnan(to_source + to_target), torch.nan, (to_source < to_target).float())
    return {"to_source": to_source, "to_target": to_target, "nearer_source": nearer}


@torch.no_grad()
def self_consistency(family: Family, faces: Faces, others: Faces) -> dict[str, torch.Tensor]:
    """Measure reconstruction, and what is left of a face that was swapped and swapped back (RSGAN, section 4.2).

    Swapping back: the two faces of a pair are exchanged, then exchanged again; the first picture should return. A
    swapped picture is a new photograph: its landmarks are detected again, and anything else that a family needs beside
    the image (labels) is taken from its target, as are the landmarks where dlib finds no face. Only reconstruction is
    measured of a family that reads nothing but rendered faces (`Family.known_only`).
    """
    made = {"reconstruction": family.rebuild(faces)}
    if not family.known_only:
        into_others, into_faces = family.overlay(faces, others).over(others), family.overlay(others, faces).over(faces)
        once = _as_photograph(into_others, others), _as_photograph(into_faces, faces)
        made["twice"] = family.overlay(*once).over(once[1])
    truth = resized(faces.images, SIZE)
    scores = {}
    for name, images in made.items():
        images = resized(images, SIZE)
        scores[f"{name}_error"] = absolute_error(images, truth)
        scores[f"{name}_ms_ssim"] = ms_ssim(images, truth)
    return scores


def as_target(images: torch.Tensor, target: Faces) -> Faces:
    """Make a record of a swapped picture: it shows the target's shot, but not its identity and attributes."""
    return replace(target, images=images, attributes=None, identity=None, factors=None)


def _as_photograph(images: torch.Tensor, target: Faces) -> Faces:
    """Make a record of a swapped picture, whose landmarks are those that dlib finds in it."""
    record = as_target(images, target)
    if target.landmarks is None:
        return record
    landmarks, scale = target.landmarks.clone(), target.size[0] / SIZE
    for k, picture in enumerate(to_uint8(resized(images, SIZE))):
        if found := photos.detect(picture):
            landmarks[k] = torch.from_numpy((found[0].landmarks + 0.5) * scale - 0.5)
    return replace(record, landmarks=landmarks)


# ---------------------------------------------------------------------------------------------- pose and overall score


def estimate_pose(landmarks: np.ndarray, size: int) -> tuple[float, float]:
    """Estimate yaw and roll, degrees, of the mean head that best fits landmarks (68, 2) in a picture.

    size: of the picture, pixels. The camera's field of view is assumed to be 20 degrees. The pitch is left out: a long
    nose looks like a bowed head. NaN for landmarks that are not finite.
    """
    if not np.isfinite(landmarks).all():
        return np.nan, np.nan
    focal = size / 2 / np.tan(np.radians(10))
    camera = np.array([[focal, 0, (size - 1) / 2], [0, focal, (size - 1) / 2], [0, 0, 1]])
    # The 51 inner landmarks; a camera's axes: y down, z away.
    points = shape_model.find_mean_landmarks()[17:] * [1, -1, -1]
    _, turn, _ = cv2.solvePnP(points, landmarks[17:68].astype(float), camera, None, flags=cv2.SOLVEPNP_SQPNP)
    matrix = cv2.Rodrigues(turn)[0] * np.outer([1, -1, -1], [1, -1, -1])  # the head's own axes
    yaw, roll = np.arctan2(matrix[0, 2], matrix[2, 2]), np.arctan2(matrix[1, 0], matrix[1, 1])
    return float(np.degrees(yaw)), float(np.degrees(roll))


def estimate_poses(images: torch.Tensor) -> torch.Tensor:
    """Estimate yaw and roll, (B, 2), degrees, of the faces that dlib finds in images (B, 3, H, W).

    NaN where it finds none.
    """
    found = [photos.detect(picture) for picture in to_uint8(images)]
    marks = [faces[0].landmarks if faces else np.full((68, 2), np.nan) for faces in found]
    return torch.tensor([estimate_pose(one, images.shape[-1]) for one in marks])


def list_taught(system: str) -> tuple[str, ...]:
    """Return which columns of `OVERALL` a system's own teachers give, by the first word of its row: "smooth_swap, …".

    Who learns to please a judge isn't measured by it: papers mark such numbers, with a dagger.
    """
    name = system.split(",")[0].split()[0] if system.strip() else ""
    if name not in families.NAMES:
        return ()
    judges = {judge for judge, _ in families.kind(name).frozen_models(families.config(name, "demo")).values()}
    return tuple(column for judge in judges for column in _GIVEN_BY.get(judge, ()) if column in OVERALL)


_GIVEN_BY = {
    "identity": ("smooth", "smooth_r"),
    "identity_margin": ("margin", "margin_r"),
    "shape": ("shape", "shape_r", "expression", "expression_r", "pose", "pose_r"),
}


def score_overall(table: pd.DataFrame, rows: Sequence[str] | None = None) -> pd.Series:
    """Compute Smooth-Swap's standardised overall score of the rows of a table: lower is better.

    The mean of the z-scores of nine columns (`OVERALL`), without those that a row's own teachers give (`list_taught`).
    rows: whose mean and sample standard deviation (n − 1) are taken; all by default.
    """
    nine = table[list(OVERALL)]
    base = nine if rows is None else nine.loc[list(rows)]
    scores = (nine - base.mean()) / base.std(ddof=1)
    for system in scores.index:
        scores.loc[system, list(list_taught(system))] = np.nan
    return scores.mean(axis=1)
