"""What the studio has of one family: its sliders, where they stand, and the frames that they ask for."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import fmean
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd

from swaplib import families
from swaplib.studio.controls import Fold, make_slider, words
from swaplib.studio.pace import Pace
from swaplib.studio.renderer import ALONG, Renderer, Slider, State, jpeg, resized, stamp
from swaplib.studio.screen import Screen, Upcoming, list_nearest, make_key

AHEAD = 100
"""How many frames beside a resting slider are drawn ahead."""


def list_released() -> dict[str, tuple[str, str]]:
    """List the families that can be loaded: label -> name and preset, the demo's first."""
    found = [(name, preset) for preset in ("demo", "paper", "smoke") for name in families.ready(preset)]
    found += [(name, "photo") for name in families.ready("photo") if name in families.TRAINED]
    return {f"{name}, {preset}": (name, preset) for name, preset in found}


class Bench:
    """A family's sliders, the screen that follows them, and its pace.

    first: the state that the family begins with. sliders, groups, edits: of parts, of groups of layers, and of
    directions, which go from -reach to reach; along: the slider that all families share. moved(slider, change) is
    called when one of them moves. folds: their rows, for the studio's box. shares: what parts change, once measured.
    """

    def __init__(
        self,
        renderer: Renderer,
        first: State,
        along: widgets.FloatSlider,
        reach: float,
        moved: Callable[[Slider, dict[str, Any]], None],
    ):
        self.renderer, self.first, self.along = renderer, first, along
        self.sliders = {part.name: make_slider(part.name, 0, 1) for part in renderer.family.parts}
        self.groups = {name: make_slider(name, 0, 1) for name in renderer.groups}
        self.edits = {name: make_slider(name, -reach, reach) for name in renderer.directions}
        self._controls = {"amounts": self.sliders, "groups": self.groups, "strengths": self.edits}
        for kind, some in self._controls.items():
            for name, control in some.items():
                control.observe(partial(moved, Slider(kind, name)), "value")
        self._controls["along"] = {ALONG.name: along}
        order = list(self.sliders)
        self.screen = Screen(
            width=self.edge, sliders=[*self.sliders.values(), *self.edits.values(), along],
            groups=list(self.groups.values()),
            members=[[order.index(part) for part in parts] for parts in renderer.groups.values()],
        )  # fmt: skip
        self.pacing = Pace(renderer.size, 0.0)
        self.folds: list[Fold] = []
        self.shares: pd.DataFrame | None = None

    @property
    def edge(self) -> int:
        """How large the picture is on the screen, in pixels."""
        return int(np.clip(self.renderer.size, 256, 512))

    def stand(self, state: State, slider: Slider) -> float:
        """Return where a slider stands; for a group of parts that differ, in the middle."""
        kind, name = slider
        if kind == "along":
            return state.along
        if kind == "groups":
            return round(fmean(state.amounts.get(part, 0.0) for part in self.renderer.groups[name]), 4)
        return getattr(state, kind).get(name, 0.0)

    def write(self, state: State) -> None:
        """Make the sliders show a state."""
        for kind, some in self._controls.items():
            for name, control in some.items():
                control.value = self.stand(state, Slider(kind, name))
        for name, control in self.sliders.items():
            control.description = words(name) + (" (random)" if name in state.random else "")

    # Frames.

    def measure(self, state: State) -> None:
        """Choose the first pace by the time that a frame takes here."""
        size, renderer = self.renderer.size, self.renderer
        smaller = [edge for edge in (size // 2, size // 4) if renderer.resizable and edge >= 32]
        self.pacing = Pace(size, renderer.seconds(state), smaller, lambda edge: renderer.seconds(state, size=edge))
        self.follow_pace()

    def follow_pace(self) -> None:
        """Let the sliders tell each move, or, where frames are slow, only where they are let go."""
        for some in self._controls.values():
            for control in some.values():
                control.continuous_update = self.pacing.name != "release"

    def frame(self, state: State, size: int | None = None) -> bytes:
        """Draw the frame of a state as JPEG, and note the time; size: of the drawn picture, None for the full one."""
        size = size or self.renderer.size
        for pick in (state.source, state.target):
            self.renderer.encode(pick, size)  # once for a face, so no part of what a frame takes
        start = time.perf_counter()
        picture = self.renderer.render(state, None if size == self.renderer.size else size)
        frame = jpeg(resized(picture, self.edge))
        self.pacing.note(size, time.perf_counter() - start)
        return frame

    def list_upcoming(self, state: State, slider: Slider) -> Upcoming:
        """Yield the frames beside where a slider stands, the nearest first."""
        control = self._controls[slider.kind][slider.name]
        beside = list_nearest(self.stand(state, slider), control.min, control.max, control.step, AHEAD)
        for one in (self.renderer.move(state, slider, value) for value in beside):
            yield self.key(one), partial(self.frame, one)

    def key(self, state: State) -> str:
        """Return the key of a state's frame, as the browser makes it of its sliders (`Screen`)."""
        amounts = [state.amounts.get(name, 0.0) for name in self.sliders]
        strengths = {name: state.strengths.get(name, 0.0) for name in self.edits}
        shown = {name: min(max(strengths[name], one.min), one.max) for name, one in self.edits.items()}
        # Beyond its slider's end, the browser can't tell one strength from another.
        beyond = {name: strength for name, strength in strengths.items() if strength != shown[name]}
        picks = (state.source, state.target)
        rest = (picks, [stamp(pick) for pick in picks], sorted(state.random.items()), beyond)
        return make_key(repr(rest), [*amounts, *shown.values(), state.along])
