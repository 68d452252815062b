"""How frames are drawn while a slider moves: by what the last ones took, measured all the time."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from statistics import median

SMOOTH = 0.1
"""Seconds a frame may take to be drawn while a slider is dragged."""
CALM = 0.8 * SMOOTH
"""Seconds at which a pace that was given up is taken again, so that it doesn't go to and fro."""
RECENT = 5
"""How many of the last frames count, by their median."""


class Pace:
    """Chooses how frames are drawn.

    name: "smooth", "preview" (smaller frames while a slider moves) or "release" (drawn when it is let go).
    edge: of the frames of a moving slider, in pixels. seconds: what a frame of full size takes.
    size: the full one, and `seconds` what it takes at first. smaller: the edges that a preview may have, the largest
    first. measure(edge): returns the seconds of a smaller frame; asked once for each, where frames are too slow.
    """

    def __init__(self, size: int, seconds: float, smaller: Sequence[int] = (), measure: Callable | None = None):
        self.size, self.edge, self.name, self.seconds = size, size, "smooth", seconds
        self._smaller, self._measure = smaller, measure
        self._shares: dict[int, float] = {}
        self._recent: dict[int, deque[float]] = defaultdict(lambda: deque(maxlen=RECENT))
        self._recent[size].extend([seconds] * RECENT)
        self.choose()

    def note(self, edge: int, seconds: float) -> None:
        """Take in what a frame took, its codes being there already."""
        self._recent[edge].append(seconds)
        self.choose()

    def choose(self) -> None:
        """Choose by the last frames: the best pace that they allow."""
        self.seconds = median(self._recent[self.size])
        if self.seconds <= (SMOOTH if self.name == "smooth" else CALM):
            self.name, self.edge = "smooth", self.size
            return
        for edge in self._smaller:
            used = self.name == "preview" and edge == self.edge
            if self._expect(edge) <= (SMOOTH if used or self.name == "smooth" else CALM):
                self.name, self.edge = "preview", edge
                return
        self.name, self.edge = "release", self.size

    def _expect(self, edge: int) -> float:
        """Return what a smaller frame will take: as the last ones did, or its share of a full one."""
        if self.name == "preview" and edge == self.edge and len(self._recent[edge]) == RECENT:
            return median(self._recent[edge])
        if edge not in self._shares:
            self._shares[edge] = self._measure(edge) / self.seconds
        return self._shares[edge] * self.seconds
