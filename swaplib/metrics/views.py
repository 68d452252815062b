"""How well pictures of one head from several sides fit together: one person, one surface.

    warping   W_v = mean |S_{v+1} − S_v ∘ f_v|, over pixels   f_v leads from each pixel of view v + 1, by its depth and
              whose places are seen from both                 both cameras, to its place in view v

Whether it is one person is `temporal.measure_identity_spread`, over views in the place of frames: half the mean squared
distance of two different views, but for a factor of (V − 1) / V. What looks alike from everywhere because it shows
little scores well in both: compare sharpness, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from swaplib import photos
from swaplib.faces import Faces, to_unit
from swaplib.generators.stylenerf import UNIT, view
from swaplib.metrics import temporal
from swaplib.metrics.image import face_region
from swaplib.networks.cameras import Cameras, grid
from swaplib.synthetic import Factors, hair, head, mesh, raster
from swaplib.synthetic.factors import record

_SAME = 0.006  # units of length, 7 mm: two views see the same place up to this difference in depth


def score_views(
    pictures: Sequence[torch.Tensor], truths: Sequence[Faces], depths: Sequence[torch.Tensor] | None = None
) -> dict[str, torch.Tensor]:
    """Measure how well pictures of B heads from V sides fit together.

    pictures: of each view, (B, 3, S, S). truths: of each view rendered faces of the same size; their landmarks say
    where dlib looks, their depth and cameras where a place lies in the next view, and only their faces count. depths:
    theirs of each view, (B, S, S), where `know_depth` has been asked before. Returns

    codes    (V, B, 128), dlib's descriptors
    spread   (B,), how far they are from being one person (`temporal.measure_identity_spread`)
    warping  (B,), mean of `measure_view_warping`

    Raises ValueError for other numbers or sizes of views, and for faces that aren't rendered.
    """
    if any(one.factors is None or one.landmarks is None or one.labels is None for one in truths):
        raise ValueError("views are measured by what is known of rendered faces: make them with synthetic.render")
    seen = [photos.describe(Faces(one, landmarks=truth.landmarks)) for one, truth in zip(pictures, truths, strict=True)]
    depths = [know_depth(truth.factors, truth.size[0]) for truth in truths] if depths is None else depths
    codes, far, shown = (torch.stack([*some]) for some in (seen, depths, pictures))
    factors = {group: torch.stack([truth.factors[group] for truth in truths]) for group in ("pose", "camera")}
    faces = torch.stack([face_region(truth.labels).float() for truth in truths])
    spread, warping = [], []
    for k in range(codes.shape[1]):
        cameras = view({group: values[:, k] for group, values in factors.items()})
        spread.append(temporal.measure_identity_spread(codes[:, k]))
        warping.append(measure_view_warping(shown[:, k], far[:, k], cameras, faces[:, k]).nanmean())
    return {"codes": codes, "spread": torch.stack(spread), "warping": torch.stack(warping)}


def measure_view_warping(
    images: torch.Tensor, depths: torch.Tensor, cameras: Cameras, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the mean absolute difference of each view to the one before, moved by depth, of a range of 1, (V − 1,).

    images: (V, 3, S, S) in [-1, 1], of one head from V cameras. depths: along each view, (V, S, S), in the cameras'
    unit of length; inf where there is nothing. weight: (V, S, S), of each pixel in its own view. NaN where nothing
    counts. Raises ValueError for fewer than two views, and for other numbers or sizes of them.
    """
    if len(images) < 2 or depths.shape != (*images.shape[:1], *images.shape[2:]) or len(cameras) != len(images):
        raise ValueError(
            f"pictures of {tuple(images.shape)}, depths of {tuple(depths.shape)} and {len(cameras)} cameras don't fit: "
            "give the same views, two or more"
        )
    size, before = images.shape[-1], cameras[slice(0, -1)]
    points = locate_points(depths[1:], cameras[slice(1, None)])
    away = ((points - before.places[:, None]) @ -before.matrices[:, :3, 2:3]).reshape(-1, 1, size, size)
    where = ((before.project(points, size) + 0.5) * (2 / size) - 1).unflatten(1, (size, size))
    moved = F.grid_sample(to_unit(images[:-1]), where, align_corners=False)
    there = F.grid_sample(depths[:-1, None], where, "nearest", align_corners=False)
    inside = (where.abs() <= 1 - 1 / size).all(-1)[:, None]
    counted = inside & ((there - away).abs() < _SAME)  # inf − inf is no number
    counted = counted if weight is None else counted * weight[1:, None]
    missed = (to_unit(images[1:]) - moved).abs().mean(1, keepdim=True)
    return torch.where(counted > 0, missed * counted, 0).sum((1, 2, 3)) / counted.sum((1, 2, 3))


def locate_points(depths: torch.Tensor, cameras: Cameras) -> torch.Tensor:
    """Return the places that pixels show, (B, S², 3), given how far away they are along the view, (B, S, S)."""
    rays = cameras.rays(grid(depths.shape[-1]).to(depths.device))
    return cameras.places[:, None] + depths.flatten(1)[..., None] * rays


def know_depth(factors: Factors, size: int) -> torch.Tensor:
    """Return how far away rendered faces are along the view, (B, size, size), in units of `UNIT` decimetres.

    Head, shoulders and hair count; glasses don't. inf where there is nothing.
    """
    people = zip(*mesh.weigh(factors), strict=True)
    depths = [_know_one({group: some[k : k + 1] for group, some in factors.items()}, *person, size)
              for k, person in enumerate(people)]  # fmt: skip
    return torch.stack(depths)


def _know_one(factors: Factors, person: np.ndarray, build: np.ndarray, size: int) -> torch.Tensor:
    body, camera = mesh.pose(factors, person, build), record(factors, "camera")
    screen = np.empty(body.points.shape, np.float32)
    raster.project_points(camera, body.points, size, screen)
    ids, nearest = np.full((size, size), -1, np.int32), np.zeros((size, size), np.float32)
    raster.rasterize(screen, head.arrays()["triangles"], ids, nearest)
    for strands in hair.grow(factors, body):
        raster.rasterize_ribbons(camera, strands, 0, ids, nearest)
    return 1 / (torch.from_numpy(nearest) * UNIT)
