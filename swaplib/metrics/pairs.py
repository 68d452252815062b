"""The sets of pairs: who meets whom, and what lies over the target's face.

Each set takes its pairs from the series of rendered faces, in order: faces 2k and 2k + 1 from number `HELD_OUT` on, as
far as the set's rule accepts them. So a set's first pairs are the same for any number of pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch

from swaplib import synthetic
from swaplib.faces import Faces
from swaplib.metrics.covers import put_bar, put_hand
from swaplib.metrics.details import set_gaze
from swaplib.synthetic import HELD_OUT, Factors, column
from swaplib.synthetic.factors import HAIR_STYLES

SERIES = "true-swap v1"
"""Name of the pairs: raised whenever a set's pairs are others than before."""
FPS = 12
_PACE = 0.8  # seconds from one drawn moment of a clip to the next
_LOOKED_AT = 256  # candidates that are drawn at once
_ANCESTRIES = ("african", "asian", "caucasian")


@dataclass(frozen=True)
class Pairs:
    """Sources, targets and true swaps of some pairs.

    moved: the true swaps of systems that bring the source's expression, pose and light along. Both are None for
    photographs. facts: of each pair.
    """

    source: Faces
    target: Faces
    truth: Faces | None = None
    moved: Faces | None = None
    facts: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class PairSet:
    """How a set's pairs come about.

    accept: factors of sources and of targets, (N, …) each -> which pairs belong to the set, bool (N,)
    change: what is changed in the target's factors, in place, by the numbers of the pairs in the set; returns facts
    cover: what is put over the target's pixels and over the truth's, by the number of the pair; None: nothing
    shots: 2 makes source and target two shots of one person
    frames: more than 1: targets are frames of clips, `FPS` a second, that many of each; a pair is a frame
    count: of pairs that are taken where nothing is said
    """

    title: str
    world: str = "calm"
    accept: Callable[[Factors, Factors], torch.Tensor] | None = None
    change: Callable[[Factors, Sequence[int]], list[dict[str, Any]]] | None = None
    cover: Callable[[int], Callable[[Faces, int], Faces] | None] | None = None
    shots: int = 1
    frames: int = 1
    count: int = 500

    def name_pair(self, number: int) -> str:
        """Return what the files of a pair are called, without their ending."""
        return f"{number:05d}" if self.frames == 1 else f"{number // self.frames:03d}_{number % self.frames:03d}"


# ---------------------------------------------------------------------------------------------------------- rules


def _ancestry(factors: Factors) -> torch.Tensor:
    return torch.stack([column(factors, "shape", name) for name in _ANCESTRIES], 1).argmax(1)


def _apart(source: Factors, target: Factors, group: str, name: str) -> torch.Tensor:
    return (column(source, group, name) - column(target, group, name)).abs()


def _other_sex(source: Factors, target: Factors) -> torch.Tensor:
    return (column(source, "shape", "masculine") > 0.5) != (column(target, "shape", "masculine") > 0.5)


def _accept_alike(source: Factors, target: Factors) -> torch.Tensor:
    near = (_apart(source, target, "skin", "tone") < 0.3) & (_apart(source, target, "shape", "age") < 0.3)
    same = (_ancestry(source) == _ancestry(target)) & ~_other_sex(source, target)
    return near & same & (_apart(source, target, "glasses", "worn") < 0.5)


def _accept_other_ethnicity(source: Factors, target: Factors) -> torch.Tensor:
    return (_ancestry(source) != _ancestry(target)) & (_apart(source, target, "skin", "tone") > 0.35)


def _accept_other_attributes(source: Factors, target: Factors) -> torch.Tensor:
    """Accept pairs that differ in two or more of age, sex, glasses and expression."""
    moved = (source["expression"] - target["expression"]).abs().sum(1)
    differences = [
        _apart(source, target, "shape", "age") > 0.4,
        _other_sex(source, target),
        _apart(source, target, "glasses", "worn") > 0.5,
        moved > 3.0,
    ]
    return torch.stack(differences).sum(0) >= 2


# -------------------------------------------------------------------------------------------------------- changes


def _set(factors: Factors, group: str, row: int, **values: float) -> None:
    for name, value in values.items():
        column(factors, group, name)[row] = value


_COVERS = ("glasses", "hair", "hand", "bar")


def _occlude(factors: Factors, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Give every fourth target glasses, and every fourth one hair that falls over brows and eyes."""
    for row, number in enumerate(numbers):
        kind = _COVERS[number % 4]
        if kind == "glasses":
            _set(factors, "glasses", row, worn=1, tint=number // 4 % 3 == 2)
        elif kind == "hair":
            style = HAIR_STYLES.index("long")
            _set(factors, "hair", row, style=style, length_top=2.4, length_side=2.2, length_back=2.3, fringe=1.05,
                 forward=1.1, sideways=0.5, backward=0, parted=0, lift=0.15, volume=0.2, receding=0)  # fmt: skip
    return [{"cover": _COVERS[number % 4]} for number in numbers]


def _cover(number: int) -> Callable[[Faces, int], Faces] | None:
    return {"hand": put_hand, "bar": put_bar}.get(_COVERS[number % 4])


_YAWS = ((0, 15), (15, 30), (30, 45), (45, 60))


def _turn(factors: Factors, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Turn the heads, a bucket of angles after the other, to either side."""
    facts = []
    for row, number in enumerate(numbers):
        low, high = _YAWS[number % 4]
        yaw = low + (high - low) * np.random.default_rng([18, number]).random()
        column(factors, "pose", "yaw")[row] = yaw if number // 4 % 2 else -yaw
        facts.append({"yaw": f"{low}–{high}°"})
    return facts


def _look_aside(factors: Factors, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Turn the eyes by 7 to 13 degrees sideways, and up to 5 up or down."""
    random = [np.random.default_rng([19, number]) for number in numbers]
    left = torch.tensor(
        [one.uniform(7, 13) * (1 if number % 2 else -1) for one, number in zip(random, numbers, strict=True)]
    )
    up = torch.tensor([one.uniform(-5, 5) for one in random])
    set_gaze(factors, left.float(), up.float())
    return [{"gaze": f"{one:+.0f}°"} for one in left.tolist()]


SETS = {
    "calm": PairSet("faces from the front, soft light"),
    "wild": PairSet("any pose, light, expression and background", "wild"),
    "alike": PairSet("people of one ancestry, sex and age", accept=_accept_alike),
    "cross_ethnicity": PairSet("other ancestry, other skin tone", accept=_accept_other_ethnicity),
    "cross_attribute": PairSet("two or more of age, sex, glasses, expression differ", accept=_accept_other_attributes),
    "occluded": PairSet("glasses, hair, a hand or a bar over the target's face", change=_occlude, cover=_cover),
    "turned": PairSet("targets turned by up to 60°, in four buckets", "wild", change=_turn),
    "gaze": PairSet("targets that look aside", change=_look_aside),
    "same_person": PairSet("source and target are two shots of one person", shots=2),
    "clips": PairSet("thirty clips of two seconds", frames=24, count=30 * 24),
}


# ---------------------------------------------------------------------------------------------------------- pairs


def draw_pairs(
    name: str,
    numbers: Sequence[int],
    size: int = 256,
    seed: int = 0,
    surround: Literal["rendered", "target"] = "rendered",
) -> Pairs:
    """Render pairs of a set, by their numbers in it.

    surround: as in `synthetic.true_swap`. Raises ValueError for an unknown set.
    """
    chosen = find_set(name)
    series = [_find(name, seed, number // chosen.frames + 1)[number // chosen.frames] for number in numbers]
    source, target = (_sample(chosen, seed, [2 * k + role for k in series]) for role in (0, 1))
    if chosen.frames > 1:
        target = _take_frames(
            chosen, seed, [(2 * k + 1, n % chosen.frames) for k, n in zip(series, numbers, strict=True)]
        )
    facts = [{"number": n, "source": 2 * k, "target": 2 * k + 1} for n, k in zip(numbers, series, strict=True)]
    if chosen.change:
        facts = [one | more for one, more in zip(facts, chosen.change(target, numbers), strict=True)]
    people = torch.tensor([2 * k for k in series])
    source, target = synthetic.render(source, size), synthetic.render(target, size)
    source = replace(source, identity=people)
    target = replace(target, identity=people + (chosen.shots == 1))
    truths = [synthetic.true_swap(source, target, surround, moved=moved) for moved in ((), synthetic.MOVING)]
    if chosen.cover:
        target, *truths = (_put_over(chosen, faces, numbers) for faces in (target, *truths))
    return Pairs(source, target, *truths, facts)


def find_set(name: str) -> PairSet:
    """Return a set by name. Raises ValueError for an unknown one."""
    if name not in SETS:
        raise ValueError(f"unknown set {name!r}: choose one of {', '.join(SETS)}")
    return SETS[name]


def _sample(chosen: PairSet, seed: int, numbers: Sequence[int]) -> Factors:
    drawn = [synthetic.sample_factors(1, seed, HELD_OUT + k, chosen.world) for k in numbers]
    if chosen.shots == 2:  # the second shot shows the person of the first
        people = [synthetic.sample_factors(1, seed, HELD_OUT + k - k % 2, chosen.world) for k in numbers]
        drawn = [synthetic.swap_identity(*both) for both in zip(people, drawn, strict=True)]
    return {group: torch.cat([one[group] for one in drawn]) for group in drawn[0]}


def _take_frames(chosen: PairSet, seed: int, wanted: Sequence[tuple[int, int]]) -> Factors:
    """Return the factors of frames of clips; wanted: number of the face that moves, number of the frame."""
    clips = {
        face: synthetic.moving_factors(chosen.frames, FPS * _PACE, seed, HELD_OUT + face, chosen.world)
        for face in dict.fromkeys(face for face, _ in wanted)
    }
    taken = [{group: values[[frame]] for group, values in clips[face].items()} for face, frame in wanted]
    return {group: torch.cat([one[group] for one in taken]) for group in taken[0]}


@lru_cache(maxsize=64)
def _find(name: str, seed: int, count: int) -> list[int]:
    """Find the first `count` pairs of the series, or a few more, that a set accepts."""
    chosen = SETS[name]
    if chosen.accept is None:
        return list(range(count))
    count, found, first = -(-count // 100) * 100, [], 0
    while len(found) < count:
        groups = ("shape", "skin", "glasses", "expression")
        drawn = synthetic.sample_factors(2 * _LOOKED_AT, seed, HELD_OUT + 2 * first, chosen.world, groups=groups)
        source, target = ({group: values[role::2] for group, values in drawn.items()} for role in (0, 1))
        found += [first + k for k in chosen.accept(source, target).nonzero()[:, 0].tolist()]
        first += _LOOKED_AT
    return found


def _put_over(chosen: PairSet, faces: Faces, numbers: Sequence[int]) -> Faces:
    parts = [
        put(faces[[row]], number) if (put := chosen.cover(number)) else faces[[row]]
        for row, number in enumerate(numbers)
    ]
    return Faces.cat(parts)
