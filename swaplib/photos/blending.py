"""Blend one picture into another without a visible seam.

This is done in the gradient domain (Pérez et al. 2003), softly along a mask's rim, or level by level of Laplacian
pyramids (Burt & Adelson 1983). The latter two are E4S's.

In the gradient domain the pasted picture keeps its own gradients; what is added to it is the membrane, the smooth
(harmonic) surface that carries the differences along the seam into the pasted region. RSGAN stitches with it
("RSGAN-GD", §3.3), and so does the classical swap.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F

_COARSEST = 24  # pixels per side up to which the membrane is solved exactly
_SWEEPS = 12  # relaxation sweeps on each finer level


def gradient_domain(
    foreground: torch.Tensor, background: torch.Tensor, mask: torch.Tensor, limit: float = 2.0
) -> torch.Tensor:
    """Join the foreground inside the mask and the background outside it in the gradient domain.

    foreground, background: images (B, 3, H, W) in [-1, 1]. mask: bool (B, H, W); of any form, including empty,
    touching the border or covering everything (then the foreground is returned as it is). limit: differences along
    the seam are clipped to +-limit, so that a seam that crosses hair or a hand doesn't bleed into the face; 2 clips
    nothing. Returns images like the background; outside the mask they equal it bit for bit.
    """
    if foreground.shape != background.shape or mask.shape != background[:, 0].shape:
        raise ValueError(
            f"foreground {tuple(foreground.shape)}, background {tuple(background.shape)} and mask {tuple(mask.shape)} "
            "must belong together: (B, 3, H, W) twice and (B, H, W)"
        )
    rows = []
    for front, back, inside in zip(foreground, background, mask, strict=True):
        values = (back - front).detach().cpu().movedim(0, -1).numpy().clip(-limit, limit)
        step = torch.from_numpy(membrane(values, inside.cpu().numpy())).movedim(-1, 0).to(back)
        rows.append(torch.where(inside, (front + step).clamp(-1, 1), back))
    return torch.stack(rows)


def membrane(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Compute the harmonic surface over a mask, given its height along the mask's outer rim.

    values: float (H, W, C), read in the ring of pixels just outside the mask. mask: bool (H, W).
    Returns float32 (H, W, C), zero outside the mask. At the picture's border the surface is level (Neumann); without
    any rim it is zero.
    """
    surface = np.zeros(values.shape, np.float32)
    if not mask.any():
        return surface
    rim = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~mask
    if not rim.any():
        return surface
    rows, columns = (np.flatnonzero((mask | rim).any(axis)) for axis in (1, 0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    heights = np.where(rim[box][..., None], values[box], 0).astype(np.float32)
    surface[box] = np.where(mask[box][..., None], _harmonic(heights, rim[box], mask[box]), 0)
    return surface


def _harmonic(values: np.ndarray, known: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Fill the free pixels harmonically from the known ones, from coarse to fine (cascadic multigrid)."""
    if max(free.shape) <= _COARSEST:
        return _solve(values, known, free)
    height, width = free.shape
    pad = ((0, height % 2), (0, width % 2))
    weight = _halve(np.pad(known, pad).astype(np.float32))
    total = _halve(np.pad(np.where(known[..., None], values, 0), (*pad, (0, 0))))
    coarse_known = weight > 0
    coarse = total / np.maximum(weight, 1e-9)[..., None]
    coarse_free = (_halve(np.pad(free, pad).astype(np.float32)) > 0) & ~coarse_known
    coarse = _harmonic(coarse, coarse_known, coarse_free)
    # Pixels outside the domain would pull the surface to zero when it is enlarged, so they are repeated instead.
    fine = np.repeat(np.repeat(coarse, 2, 0), 2, 1)[:height, :width]
    return _relax(np.where(known[..., None], values, fine), known | free, free)


def _halve(array: np.ndarray) -> np.ndarray:
    """Average blocks of 2 by 2."""
    return (array[::2, ::2] + array[1::2, ::2] + array[::2, 1::2] + array[1::2, 1::2]) / 4


def _neighbours(array: np.ndarray) -> np.ndarray:
    """Sum the four neighbours; those beyond the border count as zero."""
    total = np.zeros_like(array)
    total[1:] += array[:-1]
    total[:-1] += array[1:]
    total[:, 1:] += array[:, :-1]
    total[:, :-1] += array[:, 1:]
    return total


def _relax(values: np.ndarray, domain: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Run damped Jacobi sweeps: every free pixel moves towards the mean of its neighbours in the domain."""
    inside = domain[..., None].astype(np.float32)
    count = np.maximum(_neighbours(inside), 1)
    free = free[..., None]
    for _ in range(_SWEEPS):
        mean = _neighbours(values * inside) / count
        values = np.where(free, values + 0.9 * (mean - values), values)
    return values


def _solve(values: np.ndarray, known: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Solve the harmonic fill of a small grid exactly, as a sparse linear system."""
    index = -np.ones(free.shape, int)
    index[free] = np.arange(free.sum())
    here, there, right = [], [], np.zeros((int(free.sum()), values.shape[-1]))
    degree = np.full(int(free.sum()), 1e-6)  # keeps a piece without a rim solvable: it stays at zero
    for a, b in (
        (np.s_[:-1], np.s_[1:]),
        (np.s_[1:], np.s_[:-1]),
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:, 1:], np.s_[:, :-1]),
    ):
        inner = free[a] & free[b]
        here.append(index[a][inner])
        there.append(index[b][inner])
        rim = free[a] & known[b]
        np.add.at(right, index[a][rim], values[b][rim])
        np.add.at(degree, index[a][free[a] & (free[b] | known[b])], 1)
    result = np.where(known[..., None], values, 0).astype(np.float32)
    if free.any():
        from scipy import sparse  # slow to load
        from scipy.sparse.linalg import spsolve

        here, there = np.concatenate(here), np.concatenate(there)
        graph = sparse.csc_matrix((np.ones(len(here)), (here, there)), shape=(len(degree),) * 2)
        result[free] = spsolve(sparse.diags(degree, format="csc") - graph, right).reshape(right.shape)
    return result


# ---------------------------------------------------------------------------------------------- along a mask


def band(mask: torch.Tensor, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the pixels within `radius` of a mask's rim, and the mask grown by them: bool (B, H, W) each.

    The rim's pixels lie inside and outside the mask; distance is measured by squares of 2 radius + 1 pixels.
    """
    side = 2 * radius + 1
    wide = F.max_pool2d(mask[:, None].float(), side, 1, radius)[:, 0] > 0
    narrow = F.max_pool2d((~mask)[:, None].float(), side, 1, radius)[:, 0] == 0
    return wide & ~narrow, wide


def fade(mask: torch.Tensor, radius: int, grow: int = 0) -> torch.Tensor:
    """Return weights (B, H, W) in 0 … 1 that fall from 1 inside a mask, bool, to 0 outside it.

    The mask is grown by `grow` pixels, then eroded by `radius`; the fade extends by as many on both sides of the new
    rim.
    """
    side, rows = 2 * radius + 1, []
    for one in mask.cpu().numpy().astype(np.uint8) * 255:
        wide = cv2.dilate(one, np.ones((2 * grow + 1, 2 * grow + 1), np.uint8))
        narrow = cv2.erode(wide, np.ones((side, side), np.uint8))
        rows.append(torch.from_numpy(cv2.GaussianBlur(narrow, (side, side), 0)))
    return torch.stack(rows).to(mask.device).float() / 255


def lay(foreground: torch.Tensor, background: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Lay the foreground over the background by weights (B, H, W) in 0 … 1; images are (B, 3, H, W)."""
    return torch.lerp(background, foreground, weights[:, None].to(background))


def laplacian(
    foreground: torch.Tensor, background: torch.Tensor, weights: torch.Tensor, levels: int = 10
) -> torch.Tensor:
    """Mix foreground and background by weights (B, H, W) in 0 … 1, blurred more for coarser details.

    levels: of the pyramids, limited by how often the size can be halved. Images (B, 3, H, W) in [-1, 1].
    """
    height, width = background.shape[-2:]
    levels = min(levels, min(height & -height, width & -width).bit_length())
    rows = []
    for front, back, share in zip(foreground, background, weights, strict=True):
        share = np.repeat(share.cpu().numpy().astype(np.float32)[..., None], 3, 2)
        pyramids = [_gaussians(one.detach().cpu().movedim(0, -1).numpy(), levels) for one in (front, back)]
        whole = 0.0
        for k, weight in reversed(list(enumerate(_gaussians(share, levels)))):
            fine = [one[k] - (cv2.pyrUp(one[k + 1]) if k + 1 < levels else 0) for one in pyramids]
            coarse = cv2.pyrUp(whole) if k + 1 < levels else 0
            whole = coarse + fine[0] * weight + fine[1] * (1 - weight)
        rows.append(torch.from_numpy(whole).movedim(-1, 0).to(background))
    return torch.stack(rows).clamp(-1, 1)


def _gaussians(picture: np.ndarray, levels: int) -> list[np.ndarray]:
    """Return the Gaussian pyramid of a picture (H, W, 3), each level half the size of the one before."""
    found = [np.ascontiguousarray(picture)]
    for _ in range(levels - 1):
        found.append(cv2.pyrDown(found[-1]))
    return found
