"""The triangle visible at each sample: a z-buffer, as a numba kernel on the CPU and in plain torch elsewhere.

Both visit the same samples with the same float32 arithmetic, so they give the same triangles.
"""

from __future__ import annotations

import numba
import numpy as np
import torch

SLACK = 1e-4  # a sample on an edge belongs to both triangles; rounding must not let it fall between them


def rasterize(screen: torch.Tensor, triangles: torch.Tensor, size: int, plain: bool = False) -> torch.Tensor:
    """Find the nearest triangle at the centre of each sample, int64 (B, size, size); -1 where there is none.

    screen: vertices (B, V, 3) as x, y in samples (the first sample's centre at 0, 0) and inverse depth, larger nearer.
    plain: use the torch path on the CPU as well.
    """
    if screen.device.type != "cpu" or plain:
        return torch.stack([_rasterize_torch(points, triangles, size) for points in screen])
    faces = triangles.to(torch.int32).numpy()
    out = np.full((len(screen), size, size), -1, np.int32)
    for points, ids in zip(screen.float().numpy(), out, strict=True):
        _rasterize_numba(np.ascontiguousarray(points), faces, ids, np.zeros((size, size), np.float32))
    return torch.from_numpy(out).long()


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _rasterize_numba(points, triangles, ids, nearest):  # pragma: no cover (compiled)
    size = ids.shape[0]
    one, zero = np.float32(1), np.float32(0)
    slack, last = np.float32(-SLACK), np.float32(size - 1)
    for k in range(triangles.shape[0]):
        a, b, c = triangles[k, 0], triangles[k, 1], triangles[k, 2]
        ax, ay, bx, by, cx, cy = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == zero or not np.isfinite(area):
            continue
        left, right = max(zero, np.ceil(min(ax, bx, cx))), min(last, np.floor(max(ax, bx, cx)))
        top, bottom = max(zero, np.ceil(min(ay, by, cy))), min(last, np.floor(max(ay, by, cy)))
        if left > right or top > bottom:  # most strands of hair fall between the samples
            continue
        inverse = one / area
        az, bz, cz = points[a, 2], points[b, 2], points[c, 2]
        for row in range(int(top), int(bottom) + 1):
            y = np.float32(row)
            for column in range(int(left), int(right) + 1):
                x = np.float32(column)
                u = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) * inverse
                v = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) * inverse
                w = one - u - v
                if u < slack or v < slack or w < slack:
                    continue
                depth = w * az + u * bz + v * cz
                if depth > nearest[row, column]:
                    nearest[row, column] = depth
                    ids[row, column] = k


def _rasterize_torch(points: torch.Tensor, triangles: torch.Tensor, size: int, chunk: int = 4_000_000) -> torch.Tensor:
    corners = points[triangles].float()
    low = corners[..., :2].amin(1).ceil().clamp(min=0)
    high = corners[..., :2].amax(1).floor().clamp(max=size - 1)
    extent = (high - low + 1).clamp(min=0).long()
    extent[~torch.isfinite(corners).all(-1).all(-1)] = 0
    counts = extent[:, 0] * extent[:, 1]
    nearest = torch.zeros(size * size, device=points.device)
    found = torch.full((size * size,), -1, dtype=torch.long, device=points.device)
    ends = counts.cumsum(0)
    start = 0
    while start < len(triangles):
        base = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(torch.searchsorted(ends, base + chunk, right=True)))
        _merge(corners, low, extent, counts, start, stop, size, nearest, found)
        start = stop
    return found.view(size, size)


def _merge(corners, low, extent, counts, start, stop, size, nearest, found) -> None:
    """Fold the samples of the triangles start…stop into the buffers."""
    part = torch.arange(start, stop, device=corners.device)
    owner = part.repeat_interleave(counts[start:stop])
    first = (counts[start:stop].cumsum(0) - counts[start:stop]).repeat_interleave(counts[start:stop])
    offset = torch.arange(len(owner), device=corners.device) - first
    x = low[owner, 0] + (offset % extent[owner, 0].clamp(min=1)).float()
    y = low[owner, 1] + torch.div(offset, extent[owner, 0].clamp(min=1), rounding_mode="floor").float()
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = (corners[owner, k].unbind(-1) for k in range(3))
    inverse = 1 / ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
    u = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) * inverse
    v = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) * inverse
    w = 1 - u - v
    depth = w * az + u * bz + v * cz
    inside = (u >= -SLACK) & (v >= -SLACK) & (w >= -SLACK) & (depth > 0)
    sample, depth, owner = (y.long() * size + x.long())[inside], depth[inside], owner[inside]
    before = nearest.clone()
    nearest.scatter_reduce_(0, sample, depth, "amax")
    # Of the triangles that reach the nearest depth, the first one wins, as in the kernel.
    winner = (depth == nearest[sample]) & (depth > before[sample])
    first_owner = torch.full_like(found, len(corners))
    first_owner.scatter_reduce_(0, sample[winner], owner[winner], "amin")
    found[:] = torch.where(first_owner < len(corners), first_owner, found)


def barycentric(
    screen: torch.Tensor, triangles: torch.Tensor, ids: torch.Tensor, x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    """Return perspective-correct weights (N, 3) of samples (x, y) (N,) in their triangles `ids` (N,) of a picture."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = (screen[triangles[ids, k]].unbind(-1) for k in range(3))
    inverse = 1 / ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
    u = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) * inverse
    v = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) * inverse
    weights = torch.stack([(1 - u - v) * az, u * bz, v * cz], -1)
    return weights / weights.sum(-1, keepdim=True)
