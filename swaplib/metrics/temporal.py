"""How steady the frames of a swapped clip are: by the true swaps, where known, and by motion compensation.

    flicker   Δ_t = mean |(S_{t+1} − T_{t+1}) − (S_t − T_t)|     S the swaps, T the true swaps
    warping   W_t = mean |S_{t+1} − S_t ∘ f_t|, over the pixels   f_t the target clip's optical flow
              that the flow explains in the target clip

Motion that should be there counts in neither. An error that is the same in all frames is no flicker:
`measure_flicker` is 0 for it, as for perfect swaps. The second is the warping error of Lai et al. (2018, "Learning
Blind Video Temporal Consistency", eq. 6), with absolute in place of squared differences.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import torch

from swaplib.faces import to_uint8, to_unit

_EXPLAINED = 0.02  # of a range of 1: the flow of a pixel is trusted up to this difference in the target clip


def measure_flicker(swaps: torch.Tensor, truths: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Return the mean absolute change of the swap's error from frame to frame, of a range of 1, (T − 1,).

    swaps, truths: images (T, 3, H, W) in [-1, 1]. weight: (T, H, W), the weight of each pixel; between two frames the
    smaller of both. NaN where nothing counts. Raises ValueError for clips of unequal length or with too few frames.
    """
    _clips(swaps, truths)
    error = to_unit(swaps) - to_unit(truths)
    return _mean((error[1:] - error[:-1]).abs().mean(1), weight)


def measure_warping(swaps: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Return the mean absolute difference of each frame to the one before, moved along with the target clip, (T − 1,).

    target: the clip that was swapped into, (T, 3, H, W); the flow is Farnebäck's (2003), and pixels that it leaves with
    a difference above 0.02 (hidden before, or lit differently) don't count. Otherwise as `measure_flicker`.
    """
    _clips(swaps, target)
    frames = to_uint8(target)
    maps = np.stack([_flow(before, after) for before, after in pairwise(frames)])
    rows = [_difference(to_unit(clip), maps) for clip in (swaps, target)]
    explained = (rows[1] <= _EXPLAINED).float()
    counted = explained if weight is None else explained * torch.minimum(weight[1:], weight[:-1]).to(explained)
    return (rows[0] * counted).sum((1, 2)) / counted.sum((1, 2))


def measure_identity_spread(codes: torch.Tensor) -> torch.Tensor:
    """Return how far a clip's frames are from being one person: the mean squared distance to their mean code, ().

    codes: of an embedder or of dlib, (T, D); rows of NaN, where no face was found, are left out. NaN for fewer than
    two frames with a face.
    """
    found = codes[codes.isfinite().all(1)].double()
    if len(found) < 2:
        return codes.new_full((), torch.nan)
    return (found - found.mean(0)).square().sum(1).mean().float()


def _clips(one: torch.Tensor, other: torch.Tensor) -> None:
    if one.shape != other.shape or len(one) < 2:
        raise ValueError(
            f"clips of {tuple(one.shape)} and {tuple(other.shape)} can't be compared: give the same frames, two or more"
        )


def _mean(values: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    if weight is None:
        return values.mean((1, 2))
    weight = torch.minimum(weight[1:], weight[:-1]).to(values)
    return (values * weight).sum((1, 2)) / weight.sum((1, 2))


def _flow(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return where each pixel of `after` was in `before`, float32 (H, W, 2)."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (after, before)]
    flow = cv2.calcOpticalFlowFarneback(*grey, None, 0.5, 4, 15, 5, 5, 1.2, 0)
    rows, columns = np.indices(grey[0].shape)
    return (np.stack([columns, rows], -1) + flow).astype(np.float32)


def _difference(clip: torch.Tensor, maps: np.ndarray) -> torch.Tensor:
    """Return |clip[t + 1] − clip[t] moved|, mean over colours, (T − 1, H, W)."""
    pictures = np.ascontiguousarray(clip.detach().float().cpu().movedim(1, -1).numpy())
    moved = [
        cv2.remap(picture, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for picture, where in zip(pictures, maps, strict=False)
    ]
    return torch.from_numpy(np.abs(pictures[1:] - np.stack(moved)).mean(-1))
