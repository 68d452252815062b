"""Spectacles: rims, bridge and temples as tubes, and two lenses. Built on the posed head, so they fit everybody."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F

from swaplib.synthetic import head
from swaplib.synthetic.factors import Factors, column

_RIM, _SIDES, _BRIDGE, _TEMPLE = 30, 6, 7, 8  # points around a lens, around a tube, along the bridge and a temple
_VERTICES = _SIDES * (2 * _RIM + _BRIDGE + 2 * _TEMPLE) + 2 * (_RIM + 1)


@cache
def _tube_triangles(length: int, closed: bool) -> torch.Tensor:
    rings = length if closed else length - 1
    out = []
    for ring in range(rings):
        for side in range(_SIDES):
            a, b = ring * _SIDES + side, ring * _SIDES + (side + 1) % _SIDES
            c, d = ((ring + 1) % length) * _SIDES + side, ((ring + 1) % length) * _SIDES + (side + 1) % _SIDES
            out += [(a, b, c), (b, d, c)]
    return torch.tensor(out)


def _tube(path: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """Return ring vertices (B, L·sides, 3) around a path (B, L, 3)."""
    along = F.normalize(path.roll(-1, 1) - path.roll(1, 1), dim=-1)
    along[:, 0] = F.normalize(path[:, 1] - path[:, 0], dim=-1)
    along[:, -1] = F.normalize(path[:, -1] - path[:, -2], dim=-1)
    helper = path.new_tensor([0.35, 0.05, 1.0]).expand_as(path)
    one = F.normalize(torch.linalg.cross(along, helper), dim=-1)
    two = torch.linalg.cross(along, one)
    angle = torch.arange(_SIDES, device=path.device) * (2 * torch.pi / _SIDES)
    ring = torch.cos(angle)[:, None] * one[:, :, None] + torch.sin(angle)[:, None] * two[:, :, None]
    return (path[:, :, None] + radius.view(-1, 1, 1, 1) * ring).flatten(1, 2)


@cache
def triangles() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the triangles of the frame and of the lenses over the vertices that `build` returns."""
    parts, offset = [], 0
    for length, closed in ((_RIM, True), (_RIM, True), (_BRIDGE, False), (_TEMPLE, False), (_TEMPLE, False)):
        parts.append(_tube_triangles(length, closed) + offset)
        offset += length * _SIDES
    lenses = []
    for _ in range(2):
        ring = torch.arange(_RIM)
        fan = torch.stack([offset + ring, offset + (ring + 1) % _RIM, torch.full_like(ring, offset + _RIM)], -1)
        lenses.append(fan)
        offset += _RIM + 1
    return torch.cat(parts), torch.cat(lenses)


def build(factors: Factors, points: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Build vertices (1, N, 3) on the posed head of one face; all at one point if no glasses are worn."""
    if float(column(factors, "glasses", "worn")[0]) < 0.5:
        return points[:, :1].expand(-1, _VERTICES, -1)

    def get(name: str) -> torch.Tensor:
        return column(factors, "glasses", name)[:, None]

    eyes = head.eyeballs(points)
    local = (eyes @ turn)[:, 0] * 0.5 + (eyes @ turn)[:, 1] * 0.5
    apart = (eyes[:, 0] - eyes[:, 1]).norm(dim=-1, keepdim=True) / 2
    ear = _ear_tops(str(points.device))
    angle = torch.arange(_RIM, device=points.device) * (2 * torch.pi / _RIM)
    power = 2 + 2.6 * (1 - get("roundness"))
    cos, sin = torch.cos(angle)[None], torch.sin(angle)[None]
    reach = (cos.abs() ** power + sin.abs() ** power) ** (-1 / power)
    wide, high = (0.85 + 0.07 * get("width")) * apart, (0.235 + 0.035 * get("height"))
    rims = []
    nose = (points[:, _bridge(str(points.device))] @ turn).mean(1)
    front = torch.maximum(local[:, 2:] + 0.30, nose[:, 2:] + 0.02)
    for side in (1, -1):
        x = side * apart * 1.04 + wide * reach * cos
        y = local[:, 1:2] - 0.06 + high * reach * sin
        bend = 0.14 * (x.abs() - apart).clamp(min=-0.2) ** 1
        rims.append(torch.stack([x + local[:, :1], y.expand_as(x), front - bend], -1))
    span = torch.linspace(-1, 1, _BRIDGE, device=points.device)[None]
    gap = (apart * 1.04 - wide) * 1.02
    bridge = torch.stack(
        [gap * span + local[:, :1], local[:, 1:2] + 0.02 + 0.035 * (1 - span**2), front + 0.02 + 0 * span], -1
    )
    radius = (0.011 + 0.017 * get("thickness"))[:, 0]
    tubes = [_tube(rims[0], radius), _tube(rims[1], radius), _tube(bridge, radius)]
    for k, side in enumerate((1, -1)):
        tip = (points[:, ear[k], None] @ turn)[:, 0] + points.new_tensor([-0.01 * side, 0.03, 0.0])
        start = torch.cat([side * (apart * 1.04 + wide * 0.98) + local[:, :1], local[:, 1:2] + 0.06, front - 0.10], -1)
        out = torch.stack([tip[:, 0], start[:, 1] * 0.5 + tip[:, 1] * 0.5, start[:, 2] - 0.25], -1)
        t = torch.linspace(0, 1, _TEMPLE, device=points.device)[None, :, None]
        path = (1 - t) ** 2 * start[:, None] + 2 * t * (1 - t) * out[:, None] + t**2 * tip[:, None]
        tubes.append(_tube(path, radius * 0.9))
    lenses = [torch.cat([rim, rim.mean(1, keepdim=True)], 1) for rim in rims]
    everything = torch.cat(tubes + lenses, 1) @ turn.transpose(1, 2)
    return everything


@cache
def _ear_tops(device: str) -> list[int]:
    """Return the vertices where the ear meets the head at the top, left and right."""
    baked = head.tensors(device)
    points, ears = baked["vertices"], baked["masks"][:, head.MASKS.index("ears")]
    out = []
    for side in (1, -1):
        score = points[:, 1] + 0.5 * points[:, 2] - 10 * (ears < 0.4) - 10 * (points[:, 0] * side < 0)
        out.append(int(score.argmax()))
    return out


@cache
def _bridge(device: str) -> torch.Tensor:
    """Return the vertices of the bridge of the nose where the frame rests."""
    points = head.tensors(device)["vertices"]
    return (
        (points[:, 0].abs() < 0.05) & (points[:, 1] > 7.17) & (points[:, 1] < 7.3) & (points[:, 2] > 1.3)
    ).nonzero()[:, 0]
