"""The studio's picture: it keeps frames by where the sliders stand, and shows them before the kernel has answered.

While a slider rests, the browser (frames.js) asks for the frames beside it, one after the other: so it never holds up
what else the kernel is asked for by more than a frame. What the kernel draws for its own state replaces what was kept.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

import anywidget
import ipywidgets as widgets
import traitlets

from swaplib.studio.turns import in_turn

Upcoming = Iterable[tuple[str, Callable[[], bytes]]]
"""Frames that may be needed next: key, and what draws the JPEG."""


def read_shipped(name: str) -> str:
    """Return the text of a file that lies beside the studio's modules."""
    return (resources.files("swaplib.studio") / name).read_text(encoding="utf-8")


def make_key(rest: str, values: Iterable[float]) -> str:
    """Return the key of a frame: a digest of what the sliders don't say, and where they stand, in millionths."""
    digest = hashlib.sha256(rest.encode()).hexdigest()[:16]
    return " ".join([digest, *(str(math.floor(value * 1e6 + 0.5)) for value in values)])


def list_nearest(value: float, low: float, high: float, step: float, count: int) -> list[float]:
    """List the positions of a slider beside a value, the nearest first, `count` at most."""
    positions = (round(low + k * step, 6) for k in range(round((high - low) / step) + 1))
    return sorted((one for one in positions if abs(one - value) > 1e-6), key=lambda one: abs(one - value))[:count]


class Screen(anywidget.AnyWidget):
    """A picture that follows sliders.

    value, key: the frame of the kernel's own state as JPEG, and its key. sliders: those that stand in keys, in this
    order. groups, members: sliders that move several of these together, and for each the positions of its own.
    room: how many frames are kept.
    """

    _esm = read_shipped("frames.js")
    value = traitlets.Bytes().tag(sync=True)
    key = traitlets.Unicode().tag(sync=True)
    width = traitlets.Int(256).tag(sync=True)
    sliders = traitlets.List().tag(sync=True, **widgets.widget_serialization)
    groups = traitlets.List().tag(sync=True, **widgets.widget_serialization)
    members = traitlets.List().tag(sync=True)
    room = traitlets.Int(400).tag(sync=True)

    def __init__(self, **traits: Any):
        super().__init__(**traits)
        self._opened, self._sent, self._plan = False, {}, tuple
        self._upcoming: Iterator = iter(())
        self.on_msg(self._received)

    def show(self, frame: bytes, key: str) -> None:
        """Show the frame of the kernel's own state; nothing more is sent ahead until `rest`."""
        self._plan, self._upcoming = tuple, iter(())
        with self.hold_sync():
            self.value, self.key = frame, key
        self._note(key)

    def rest(self, plan: Callable[[], Upcoming]) -> None:
        """Offer the frames of a plan, in its order; where no browser shows the picture, none is ever drawn."""
        self._plan, self._upcoming = plan, iter(plan())
        if self._opened:
            self.send({"offer": True})

    @in_turn
    def _received(self, screen: Screen, content: Mapping[str, Any], buffers: Sequence[bytes]) -> None:
        if content.get("do") == "begin":  # a page that holds no frames yet
            self._opened, self._sent = True, {self.key: None}
            self.rest(self._plan)
        elif content.get("do") == "more":
            self._answer()

    def _answer(self) -> None:
        """Send the next frame that the browser lacks, or say that there is none."""
        key, draw = next(((key, draw) for key, draw in self._upcoming if key not in self._sent), (None, None))
        try:
            frame = draw() if draw else None
        except Exception:
            frame, self._upcoming = None, iter(())  # told in the status line once the slider gets there
        if frame is None:
            self.send({})
        else:
            self._note(key)
            self.send({"key": key}, [frame])

    def _note(self, key: str) -> None:
        """Remember what the browser holds, by its own rule: the oldest frames go first."""
        self._sent.pop(key, None)
        self._sent[key] = None
        while len(self._sent) > self.room:
            del self._sent[next(iter(self._sent))]
