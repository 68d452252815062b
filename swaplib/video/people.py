"""One person through a video: which face it is in each frame, and its landmarks without jitter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from swaplib import latent, photos
from swaplib.photos import Detection

# ---------------------------------------------------------------------------------------------- which face, and where


def follow(
    found: Sequence[Sequence[Detection]], shape: tuple[int, ...], face: latent.Face = "largest", reach: float = 1.0
) -> np.ndarray:
    """Follow one face through a video: its landmarks, (T, 68, 2), NaN where it isn't seen.

    found: the faces of each frame. face: which one, in the first frame that has any, as in `photos.choose`; from then
    on the one nearest to where it was last seen, but none farther than `reach` of its widths for each frame since.
    """
    landmarks = np.full((len(found), 68, 2), np.nan)
    last, unseen = None, 1
    for k, faces in enumerate(found):
        if last is None:
            chosen = photos.choose(list(faces), face, shape) if faces else None
        else:
            near = [one for one in faces if _apart(one, last) <= reach * unseen]
            chosen = min(near, key=lambda one: _apart(one, last), default=None)
        if chosen is None:
            unseen += 1
            continue
        landmarks[k], last, unseen = chosen.landmarks, chosen, 1
    return landmarks


def _apart(one: Detection, other: Detection) -> float:
    """Return the distance in widths of the other face."""
    return float(np.hypot(*(one.centre - other.centre))) / other.width


def smooth_landmarks(landmarks: np.ndarray, sigma: float = 1.5) -> np.ndarray:
    """Remove the detector's jitter from the landmarks (T, 68, 2) of a face over time; NaN rows stay.

    Each frame gets the value of the straight line in time that best fits the frames around it, weighted by a Gaussian
    of `sigma` frames: a face that moves evenly doesn't lag, not even at the ends. Frames beyond one without a face, or
    beyond a cut, where the face jumps by half its width, don't count. 0 smooths nothing.
    """
    if sigma <= 0:
        return landmarks.copy()
    result = landmarks.copy()
    for run in _runs(landmarks):
        for t in range(run.start, run.stop):
            reach = int(np.ceil(3 * sigma))
            near = slice(max(run.start, t - reach), min(run.stop, t + reach + 1))
            result[t] = _line(np.arange(near.start, near.stop) - t, landmarks[near], sigma)
    return result


def _runs(landmarks: np.ndarray) -> list[slice]:
    """Find the stretches of frames that show the face without a jump."""
    seen = np.isfinite(landmarks).all((1, 2))
    centre = landmarks.mean(1)
    width = np.ptp(landmarks[:, :, 0], 1)
    step = np.hypot(*(centre[1:] - centre[:-1]).T) / width[:-1]
    starts = seen & ~np.append(False, seen[:-1] & (step < 0.5))
    runs = []
    for first in np.flatnonzero(starts):
        last = first + 1
        while last < len(seen) and seen[last] and not starts[last]:
            last += 1
        runs.append(slice(int(first), int(last)))
    return runs


def _line(at: np.ndarray, values: np.ndarray, sigma: float) -> np.ndarray:
    """Return the value at 0 of the weighted least-squares line through values (N, …) at times (N,)."""
    weight = np.exp(-(at**2) / (2 * sigma**2))
    none, first, second = (np.sum(weight * at**power) for power in range(3))
    if len(at) == 1:
        return values[0]
    shares = weight * (second - first * at) / (none * second - first**2)
    return np.tensordot(shares, values, 1)
