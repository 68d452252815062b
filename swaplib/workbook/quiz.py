"""A quiz: numbered pairs of a rendered face and a photograph, small; the reader says which of the two is which.

    pairs = quiz.draw("lfw128", seed=2)
    figure = quiz.show(pairs)
    quiz.check("lrrlr…", pairs)

No photographs of people lie in the repository: the reader prepares some. Without them there are no pairs, and `show`
says how to get them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from swaplib import figures
from swaplib.faces import to_uint8
from swaplib.workbook import verdicts
from swaplib.workbook.material import draw_faces

WANTED = "the quiz needs photographs: prepare some (swaplib prepare LFW lfw128), and take data = 'lfw128' above"
"""What is said where there are no photographs."""
START = 1000
"""The first rendered face of a quiz: the first ones of a series are shown in the lessons."""
ACROSS, MARGIN, INCHES = 5, 5, 2.2  # pairs in a row; pixels beside a pair; inches that it takes, with its margins


@dataclass(frozen=True)
class Quiz:
    """Pairs of a rendered face and a photograph.

    left, right: images (N, 3, S, S) in [-1, 1]. photographs: the photographs' sides, N letters "l" or "r".
    """

    left: torch.Tensor
    right: torch.Tensor
    photographs: str

    def __len__(self) -> int:
        return len(self.photographs)


def draw(
    folder: str | os.PathLike | None, seed: int = 0, count: int = 20, size: int = 64, world: str = "wild"
) -> Quiz | None:
    """Draw pairs at `size` pixels, each with the photograph on a side that a coin decides; None without a folder.

    folder: prepared photographs. seed: decides on faces, photographs and sides. Raises as `material.draw_faces` does.
    """
    if folder is None:
        return None
    rendered = draw_faces(count, seed, START, world).resize(size).images
    photographs = draw_faces(count, seed, size=size, folder=folder).images
    first = torch.from_numpy(np.random.default_rng(seed).random(count) < 0.5)
    sides = first[:, None, None, None]
    letters = "".join("l" if left else "r" for left in first)
    return Quiz(torch.where(sides, photographs, rendered), torch.where(sides, rendered, photographs), letters)


def show(pairs: Quiz | None) -> Figure | None:
    """Draw numbered pairs, enlarged; without any, print how to get photographs."""
    if pairs is None:
        print(WANTED)
        return None
    margin = np.full((pairs.left.shape[2], MARGIN, 3), 255, np.uint8)
    both = zip(to_uint8(pairs.left), to_uint8(pairs.right), strict=True)
    shown = [np.hstack([margin, left, margin[:, :1], right, margin]) for left, right in both]
    return figures.grid(shown, cols=ACROSS, size=INCHES, titles=[str(k + 1) for k in range(len(pairs))])


def check(answer: Any, pairs: Quiz | None) -> None:
    """Print how many answers are right, beside guessing, and then which; an answer that is still `...` is no error."""
    print(f"quiz · {mark(answer, pairs)}")


def mark(answer: Any, pairs: Quiz | None) -> str:
    """Say how many answers are right, with Wilson's interval, and tell the photographs' sides.

    answer: a letter for each pair, "l" or "r"; spaces don't count. Whatever else it is gets a sentence that tells
    nothing.
    """
    if answer is ...:
        return "not answered yet"
    if pairs is None:
        return WANTED
    letters = "".join(answer.lower().split()) if isinstance(answer, str) else ""
    if len(letters) != len(pairs) or set(letters) - {"l", "r"}:
        return f"{len(pairs)} letters are asked for, each l or r: 'l' where the photograph is on the left"
    hits = np.array([one == other for one, other in zip(letters, pairs.photographs, strict=True)])
    found = verdicts.share(hits)
    better, worse = found.low > 0.5, found.high < 0.5
    verdict = "better than guessing" if better else "worse than guessing" if worse else "as guessing might do"
    wrong = ", ".join(str(k + 1) for k in np.flatnonzero(~hits)) or "none"
    return (
        f"{hits.sum()} of {len(pairs)} right, {found.value:.0%} [{found.low:.0%}, {found.high:.0%}]: {verdict}\n"
        f"photographs: {pairs.photographs}; wrong: {wrong}"
    )
