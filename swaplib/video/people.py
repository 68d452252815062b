"""Who is who in a film: its faces grouped into people, one of them chosen, landmarks without gaps and jitter.

    faces of each frame ─ link ─► tracks ─ join ─► people ─ choose ─► landmarks ─ bridge ─ smooth ─►

Neighbouring frames are linked by place and by dlib's descriptor. Tracks are joined by their mean descriptors alone, the
nearest first, and never two that are seen at once: so someone is known again after a cut, from its first frame on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from swaplib import latent, photos
from swaplib.photos import Detection, PhotoError

_ALIKE = 0.5  # the same for means of `_SURE` frames: of LFW's pairs, 85% of one person's are joined, 0.06% of others'
_SURE = 5
_STEP = 0.35  # distance of descriptors in neighbouring frames of one track
_REACH = 0.5  # of a face's width that it moves from frame to frame within a track
_GROWTH = 1.5  # and how many times its width it grows
BRIDGED = Fraction(1, 2)  # seconds that someone may be lost and is still followed
_MOVED = 1.5  # of their faces' widths that they may move meanwhile
BRIEF = Fraction(1, 5)  # seconds: who is seen for less is left out where all are swapped

# ---------------------------------------------------------------------------------------------- who is who


@dataclass(frozen=True)
class Person:
    """Someone in a film: the mean descriptor (128,), and the face in each frame that shows it, by its number."""

    code: np.ndarray
    faces: Mapping[int, Detection]

    @property
    def presence(self) -> float:
        """Sum the faces' widths: who is large in the picture, and for long, has much of it."""
        return sum(face.width for face in self.faces.values())

    def landmarks(self, count: int) -> np.ndarray:
        """Return the landmarks (T, 68, 2) in `count` frames, NaN where there is no face."""
        marks = np.full((count, 68, 2), np.nan)
        for frame, face in self.faces.items():
            marks[frame] = face.landmarks
        return marks


def tell_apart(faces: Sequence[Sequence[Detection]], codes: Sequence[np.ndarray]) -> list[Person]:
    """Group the faces of all frames into people, those with most presence first.

    faces: of each frame. codes: their descriptors, (N, 128) for the N faces of a frame.
    """
    tracks = _link(faces, codes)
    people = []
    for group in _join([_mean_code(track, faces, codes) for track in tracks], tracks):
        members = [member for number in group for member in tracks[number]]
        mean = np.mean([codes[frame][k] for frame, k in members], 0)
        people.append(Person(mean, {frame: faces[frame][k] for frame, k in sorted(members)}))
    return sorted(people, key=lambda person: -person.presence)


def _link(faces: Sequence[Sequence[Detection]], codes: Sequence[np.ndarray]) -> list[list[tuple[int, int]]]:
    """Link faces of neighbouring frames, the likest pairs first: tracks of (frame, number of the face)."""
    tracks: list[list[tuple[int, int]]] = []
    before: dict[int, list[tuple[int, int]]] = {}
    for frame, here in enumerate(faces):
        now: dict[int, list[tuple[int, int]]] = {}
        pairs = [
            (_step(faces[frame - 1][old], here[new], codes[frame - 1][old], codes[frame][new]), old, new)
            for old in before
            for new in range(len(here))
        ]
        for step, old, new in sorted(pairs):
            if step < 1 and old in before and new not in now:
                now[new] = before.pop(old)
        for new in range(len(here)):
            if new not in now:
                now[new] = []
                tracks.append(now[new])
            now[new].append((frame, new))
        before = now
    return tracks


def _step(one: Detection, other: Detection, code: np.ndarray, other_code: np.ndarray) -> float:
    """Return how far a face is from the same person's in the next frame: 1 at the limit."""
    return max(
        float(np.hypot(*(one.centre - other.centre))) / one.width / _REACH,
        abs(np.log(one.width / other.width)) / np.log(_GROWTH),
        float(np.linalg.norm(code - other_code)) / _STEP,
    )


def _mean_code(track, faces, codes) -> np.ndarray:
    """Average the descriptors of a track's good frames: those with at least its median score."""
    scores = np.array([faces[frame][k].score for frame, k in track])
    own = np.stack([codes[frame][k] for frame, k in track])
    return own[scores >= np.median(scores)].mean(0)


def _join(centres: Sequence[np.ndarray], tracks: Sequence[Sequence[tuple[int, int]]]) -> list[list[int]]:
    """Join tracks into groups, the nearest first, until those left are too far apart or seen at once."""
    if not tracks:
        return []
    centre = np.stack(centres).astype(float)
    weight = np.array([len(track) for track in tracks], float)
    first, last = (np.array([track[end][0] for track in tracks]) for end in (0, -1))
    apart = (first[:, None] > last[None]) | (first[None] > last[:, None])  # in time
    groups = {number: [number] for number in range(len(tracks))}

    def compare(number: int) -> np.ndarray:
        """Return a group's distance to every other, 1 at the limit; infinite where they can't be joined."""
        distance = np.linalg.norm(centre - centre[number], axis=1)
        limit = np.where(np.minimum(weight, weight[number]) >= _SURE, _ALIKE, latent.ALIKE)
        joinable = apart[number] & [other in groups and other != number for other in range(len(tracks))]
        return np.where(joinable, distance / limit, np.inf)

    ratio = np.stack([compare(number) for number in groups])
    while ratio.min() < 1:
        one, other = (int(number) for number in np.unravel_index(ratio.argmin(), ratio.shape))
        groups[one] += groups.pop(other)
        centre[one] = (weight[one] * centre[one] + weight[other] * centre[other]) / (weight[one] + weight[other])
        weight[one] += weight[other]
        apart[one] &= apart[other]
        apart[:, one] = apart[one]
        ratio[one] = ratio[:, one] = compare(one)
        ratio[other] = ratio[:, other] = np.inf
    return list(groups.values())


def choose(
    people: Sequence[Person], face: latent.Face, shape: tuple[int, ...], code: np.ndarray | None = None
) -> Person:
    """Choose one of the people in a film.

    face: a number in their order; "largest", the first of them; "central" or a point (x, y), who is nearest to it in
    the first frame that shows anyone, as in `photos.choose`. code: a descriptor; who is likest to it, whatever `face`
    says. Raises PhotoError where there is nobody of that number, or nobody alike.
    """
    if code is not None:
        found = min(people, key=lambda person: np.linalg.norm(person.code - code))
        if np.linalg.norm(found.code - code) > latent.ALIKE:
            raise PhotoError("nobody in the film looks like the chosen face: swaplib faces shows who is there", "who")
        return found
    if isinstance(face, (int, np.integer)):
        if not 0 <= face < len(people):
            raise PhotoError(
                f"there is no person number {face} in the film: {len(people)} found, numbered from 0; "
                "swaplib faces shows them",
                "who",
            )
        return people[face]
    if isinstance(face, str) and face == "largest":
        return people[0]
    first = min(min(person.faces) for person in people)
    there = [person for person in people if first in person.faces]
    chosen = photos.choose([person.faces[first] for person in there], face, shape)
    return next(person for person in there if person.faces[first] is chosen)


def lasting(people: Sequence[Person], times: Sequence[Fraction]) -> list[Person]:
    """Leave out who is seen for less than `BRIEF`: mostly false alarms. All stay where the film is as short."""
    step = (times[-1] - times[0]) / max(1, len(times) - 1)
    return [person for person in people if len(person.faces) * step >= BRIEF or len(person.faces) == len(times)] or [
        *people
    ]


# ---------------------------------------------------------------------------------------------- gaps


def find_gaps(marks: np.ndarray, times: Sequence[Fraction]) -> list[slice]:
    """Find the stretches of up to `BRIDGED` seconds that don't show a face seen before and after them, and near."""
    seen = np.flatnonzero(np.isfinite(marks).all((1, 2)))
    gaps = []
    for before, after in zip(seen[:-1].tolist(), seen[1:].tolist(), strict=True):
        moved = np.hypot(*(marks[after] - marks[before]).mean(0)) / np.ptp(marks[before, :, 0])
        if after > before + 1 and times[after] - times[before + 1] <= BRIDGED and moved <= _MOVED:
            gaps.append(slice(before + 1, after))
    return gaps


def interpolate(marks: np.ndarray, gap: slice, times: Sequence[Fraction]) -> np.ndarray:
    """Return landmarks within a gap, (N, 68, 2), on straight lines in time between those at its ends."""
    before, after = gap.start - 1, gap.stop
    shares = [float((times[k] - times[before]) / (times[after] - times[before])) for k in range(gap.start, gap.stop)]
    return np.stack([(1 - share) * marks[before] + share * marks[after] for share in shares])


_PATCH = 24  # pixels of a face's width where places are compared: their grain doesn't count
_SAME = 0.9  # correlation from which a place shows the same: a face turned by 65° has 0.88, the best 1% elsewhere 0.81
_BLURS = ((1, 1), (1, 9), (1, 17), (9, 1), (17, 1))  # rows and columns that motion may have run together


def find_again(frame: np.ndarray, marks: np.ndarray, before: np.ndarray, old: np.ndarray) -> np.ndarray | None:
    """Look for a face near where it should be, by what it looked like: its landmarks there, or None.

    frame: uint8 RGB (H, W, 3). marks: where it should be, (68, 2). before, old: a frame that shows it, and where.
    """
    window, looked = _patch(frame, marks, 2.0), _patch(before, old, 2.0)
    rim = (len(looked) - _PATCH) // 2
    best, shift = _SAME, None
    for rows, columns in _BLURS:
        template = cv2.blur(looked, (columns, rows))[rim : rim + _PATCH, rim : rim + _PATCH]
        scores = cv2.matchTemplate(window, template, cv2.TM_CCOEFF_NORMED)
        if scores.max() > best:
            best = scores.max()
            shift = np.array(np.unravel_index(scores.argmax(), scores.shape))[::-1] - rim
    return None if shift is None else marks + shift * np.ptp(marks[:, 0]) / _PATCH


def _patch(frame: np.ndarray, marks: np.ndarray, wide: float) -> np.ndarray:
    """Cut out a square around a face, `wide` of its widths, small."""
    size = round(wide * _PATCH)
    scale = _PATCH / np.ptp(marks[:, 0])
    middle = (marks.min(0) + marks.max(0)) / 2
    matrix = np.array([[scale, 0, (size - 1) / 2 - scale * middle[0]], [0, scale, (size - 1) / 2 - scale * middle[1]]])
    matrix = np.vstack([matrix, [0, 0, 1]])
    return cv2.GaussianBlur(photos.warp(frame, matrix, (size, size)), (0, 0), 1.5)


def adopt(person: Person, others: Iterable[Person], gap: slice, guesses: np.ndarray) -> dict[int, Detection]:
    """Return faces in a gap that are at the person's place and that nobody else claims, by frame.

    A face that is blurred or seen askew has a descriptor of its own and passes for someone who is hardly ever seen.
    """
    found = {}
    for other in others:
        if other is person or len(other.faces) >= _SURE:
            continue
        for frame in range(gap.start, gap.stop):
            if (face := other.faces.get(frame)) and _is_at(face, guesses[frame - gap.start]):
                found[frame] = face
    return found


def is_taken(person: Person, others: Iterable[Person], frame: int, marks: np.ndarray) -> bool:
    """Tell whether another person's face is at a place in a frame."""
    return any(
        other is not person and (face := other.faces.get(frame)) is not None and _is_at(face, marks) for other in others
    )


def _is_at(face: Detection, marks: np.ndarray) -> bool:
    apart = np.abs(face.landmarks.mean(0) - marks.mean(0)).max() / np.ptp(marks[:, 0])
    return bool(apart < 0.35) and 1 / _GROWTH < np.ptp(face.landmarks[:, 0]) / np.ptp(marks[:, 0]) < _GROWTH


# ---------------------------------------------------------------------------------------------- jitter


def smooth_landmarks(landmarks: np.ndarray, sigma: float = 1.5) -> np.ndarray:
    """Remove the detector's jitter from the landmarks (T, 68, 2) of a face over time; NaN rows stay.

    Each frame gets the value of the straight line in time that best fits the frames around it, weighted by a Gaussian
    of `sigma` frames: a face that moves evenly doesn't lag, not even at the ends. Frames beyond one without a face, or
    beyond a cut, where the face jumps, don't count. 0 smooths nothing.
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
    """Find the stretches of frames that show the face without a jump.

    A jump is a step of half the face's width, or a tenth of it between two steps of less than a quarter of that: what
    moves gets faster by degrees, and what trembles jumps back.
    """
    seen = np.isfinite(landmarks).all((1, 2))
    width = np.ptp(landmarks[:, :, 0], 1)
    step = np.linalg.norm(landmarks[1:] - landmarks[:-1], axis=2).mean(1) / width[:-1]
    padded = np.pad(np.nan_to_num(step), 1)
    sudden = (step > 0.1) & (step > 4 * np.maximum(padded[:-2], padded[2:]))
    calm = (step < 0.5) & ~sudden
    starts = seen & ~np.append(False, seen[:-1] & calm)
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
