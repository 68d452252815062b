"""Cameras around a head, as StyleNeRF's official code places them (facebookresearch/StyleNeRF, conf/model, camera.py).

The origin is inside the head; x points from it to somebody who stands in front, y to the right of the picture (the
person's left), z up. Unless told otherwise a camera stands at distance 1 and looks at the origin, so lengths are in
units of its distance. For FFHQ official training draws yaw and pitch from normal distributions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

YAW, PITCH = math.degrees(0.3), math.degrees(0.155)
"""Standard deviations of a drawn camera's yaw and pitch, degrees; their means are 0."""
RADIUS, ANGLE = 1.0, 12.0
"""Distance from the origin, and field of view in degrees, from edge to edge."""
DEPTHS = (0.88, 1.12)
"""Where the head begins and ends, along the view of a camera at distance 1."""


@dataclass(frozen=True)
class Cameras:
    """Where pictures are taken from.

    matrices  (B, 4, 4): from the camera's axes (right, up, backward) to the world's
    fields    (B,): half of the picture's width, seen from distance 1: the tangent of half the field of view
    """

    matrices: torch.Tensor
    fields: torch.Tensor

    def __len__(self) -> int:
        return len(self.fields)

    def __getitem__(self, rows: slice | torch.Tensor) -> Cameras:
        return Cameras(self.matrices[rows], self.fields[rows])

    def to(self, device: torch.device | str) -> Cameras:
        return Cameras(self.matrices.to(device), self.fields.to(device))

    def expand(self, count: int) -> Cameras:
        """Return as many cameras, if there is one; raise ValueError if there are others than that many."""
        if len(self) not in (1, count):
            raise ValueError(f"{len(self)} cameras for {count} pictures: give one, or one for each picture")
        return Cameras(self.matrices.expand(count, -1, -1), self.fields.expand(count))

    @property
    def places(self) -> torch.Tensor:
        """Where the cameras stand, (B, 3)."""
        return self.matrices[:, :3, 3]

    def rays(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the rays (B, R, 3) of places in the picture, of length 1 along the view: as long as depth counts.

        pixels: (R, 2) or (B, R, 2), x right and y up, in [-1, 1] from edge to edge.
        """
        aside = pixels * self.fields[:, None, None]
        return torch.cat([aside, -torch.ones_like(aside[..., :1])], -1) @ self.matrices[:, :3, :3].mT

    def project(self, points: torch.Tensor, size: int) -> torch.Tensor:
        """Return where points (B, N, 3) lie in a picture, (B, N, 2): pixels, x right and y down, as in `Faces`."""
        right, up, back = ((points - self.places[:, None]) @ self.matrices[:, :3, :3]).unbind(-1)
        aside = torch.stack([right, -up], -1) / (-back * self.fields[:, None])[..., None]
        return (aside + 1) * (size / 2) - 0.5


def grid(size: int) -> torch.Tensor:
    """Return the places of all pixels' centres, (size², 2), as `Cameras.rays` takes them, row by row from the top."""
    across = (torch.arange(size) + 0.5) * (2 / size) - 1
    return torch.stack(torch.meshgrid(across, -across, indexing="xy"), -1).flatten(0, 1)


def look_from(
    yaw: float | torch.Tensor = 0.0,
    pitch: float | torch.Tensor = 0.0,
    radius: float | torch.Tensor = RADIUS,
    angle: float | torch.Tensor = ANGLE,
    rise: float | torch.Tensor = 0.0,
) -> Cameras:
    """Place cameras that look at the origin, upright.

    yaw: degrees to the person's left; pitch: degrees up, within ±90; radius: distance from the origin; angle: field of
    view, degrees; rise: how far each is then moved up, without being turned. Numbers, or tensors (B,). Raises
    ValueError for a camera straight above or below, or further.
    """
    values = (torch.as_tensor(value, dtype=torch.float32).reshape(-1) for value in (yaw, pitch, radius, angle, rise))
    yaw, pitch, radius, angle, rise = torch.broadcast_tensors(*values)
    if (pitch.abs() >= 90).any():
        raise ValueError(f"pitch must lie between -90 and 90 degrees, got {float(pitch[pitch.abs().argmax()]):g}")
    around, above = torch.deg2rad(yaw % 360), torch.deg2rad(pitch)
    flat = above.cos()
    back = torch.stack([flat * around.cos(), flat * around.sin(), above.sin()], 1)
    right = torch.stack([-around.sin(), around.cos(), torch.zeros_like(around)], 1)
    up = torch.linalg.cross(back, right)
    places = back * radius[:, None] + up * rise[:, None]
    return assemble(torch.stack([right, up, back], 2), places, torch.tan(torch.deg2rad(angle) / 2))


def assemble(turns: torch.Tensor, places: torch.Tensor, fields: torch.Tensor) -> Cameras:
    """Make cameras of their axes, columns of (B, 3, 3), where they stand, (B, 3), and their fields (B,)."""
    matrices = torch.eye(4, device=places.device).repeat(len(places), 1, 1)
    matrices[:, :3, :3], matrices[:, :3, 3] = turns, places
    return Cameras(matrices, fields)


def draw_cameras(count: int, generator: torch.Generator | None = None) -> Cameras:
    """Draw cameras as official training does for FFHQ; pitch is cut at 85 degrees, ten deviations from its mean."""
    yaw, pitch = torch.randn(2, count, generator=generator)
    return look_from(yaw * YAW, (pitch * PITCH).clamp(-85, 85))
