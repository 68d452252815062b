"""The sliders of the studio, in ipywidgets: they write the state and show what the renderer makes of it."""

from __future__ import annotations

import html
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd

from swaplib import families, figures
from swaplib.families import Codes, Family
from swaplib.studio.controls import (
    App,
    Chooser,
    Fold,
    describe,
    free,
    labelled,
    make_box,
    make_button,
    make_icon,
    make_image,
    make_row,
    make_slider,
    words,
)
from swaplib.studio.explanation import explain, measure_shares
from swaplib.studio.pace import Pace
from swaplib.studio.renderer import (
    ALONG,
    Pick,
    Renderer,
    Slider,
    State,
    jpeg,
    plain_swap,
    resized,
    side_by_side,
    stamp,
    still,
)
from swaplib.studio.screen import Screen, Upcoming, list_nearest, make_key

AHEAD = 100
"""How many frames beside a resting slider are drawn ahead."""
FEW = 6
"""More edits than that are folded when a studio opens."""
PATH = 7
"""Pictures on the way from the target to the picture."""


PAST = 100
"""How many steps can be undone."""
Step = tuple[str, State]
"""Which family is shown, and its state."""


def list_released() -> dict[str, tuple[str, str]]:
    """List the families that can be loaded: label -> name and preset, the demo's first."""
    found = [(name, preset) for preset in ("demo", "paper", "smoke") for name in families.ready(preset)]
    found += [(name, "photo") for name in families.ready("photo") if name in families.TRAINED]
    return {f"{name}, {preset}": (name, preset) for name, preset in found}


@dataclass
class Bench:
    """What the studio has of one family: its renderer, the state it begins with, sliders, and where they stand."""

    renderer: Renderer
    first: State
    sliders: dict[str, widgets.FloatSlider]
    groups: dict[str, widgets.FloatSlider]
    edits: dict[str, widgets.FloatSlider]
    screen: Screen | None = None
    folds: list[Fold] = field(default_factory=list)
    pacing: Pace | None = None
    shares: pd.DataFrame | None = None


class Studio(App):
    """The app. Show it as the last line of a cell; `state` may be read and set, `renderer` used by itself.

    state: the initial one; None: a plain swap of two rendered faces. size, directions: as in `Renderer`; directions
    found by `latent.directions` go through its `make_sliders`. Where the family has layers, a slider for each of
    their groups (`layers.group_parts`) moves them together.
    files: photographs to offer by name. folder: where pictures and states are saved; None: build/studio.
    reach: the edit sliders go from -reach to reach. seed: of the random buttons.
    Other families take the place of the given one by `choose_family`; the faces stay. `undo` and `redo` go through
    states and families.
    last_error as in `App`. pace is "smooth", "preview" (small frames while a slider moves) or "release" (drawn when it
    is released), by the time that the last frames took, `frame_seconds` (`Pace`). While a slider of a smooth studio
    rests, the frames beside it are drawn ahead and kept in the browser (`Screen`).
    """

    State = State

    def __init__(
        self,
        family: Family,
        state: State | None = None,
        size: int | None = None,
        directions: Mapping[str, Codes] | None = None,
        files: Sequence[str | Path] = (),
        folder: str | Path | None = None,
        reach: float = 3.0,
        seed: int = 0,
    ):
        super().__init__(folder, "studio")
        self._rng, self._writing, self._path_of, self._small = random.Random(seed), False, None, False
        self._last_moved: Slider | None = None
        self._drawn: Sequence[np.ndarray] | None = None
        self._reach, self._released = reach, list_released()
        self._opened = f"{family.name}, as opened"
        self.along = make_slider(ALONG.name, 0, 1)
        self.along.observe(partial(self._moved, ALONG), "value")
        self._benches: dict[str, Bench] = {}
        self._benches[self._opened] = self._set_up(Renderer(family, size, directions), state)
        self._label, self._state = self._opened, self._benches[self._opened].first
        self._past: list[Step] = []
        self._future: list[Step] = []
        self._present: Step = (self._label, self._state)
        self._make_controls([str(path) for path in files])
        self.box = self._layout()
        self._use(self._opened)
        with self._guarded():
            self._list_saved()
            self._measure()
        self._write_controls()
        self._draw()
        self._settle()

    # The state and what changes it.

    @property
    def state(self) -> State:
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._remember()
        self._show_state(state)
        self._remember()

    def _show_state(self, state: State) -> None:
        self._state = state
        self._write_controls()
        self._draw()
        self._later(self._settle)

    def _move(self, slider: Slider, value: float) -> None:
        """Follow a slider that the user moves; the other controls follow when it rests."""
        self._state, self._last_moved = self.renderer.move(self.state, slider, value), slider
        self._draw()
        self._later(self._settle)

    def reset(self) -> None:
        """Return to the initial state."""
        self.state = self._bench.first

    def plain_swap(self) -> None:
        """Take the parts of a plain swap from the source, with no edits and no random codes."""
        self.state = State(self.state.source, self.state.target, plain_swap(self.family), self._no_edits())

    def everything(self) -> None:
        """Take every part from the source: the path then leads to the source's own picture."""
        self.state = replace(self.state, amounts=dict.fromkeys(self.sliders, 1.0))

    def randomize(self, part: str) -> None:
        """Put a random code into a part, where the family is generative; a part at 0 is moved to 1 to show it."""
        amounts = {part: self.state.amounts.get(part, 0.0) or 1.0}
        drawn = {part: self._rng.randrange(10**6)}
        self.state = replace(self.state, amounts=self.state.amounts | amounts, random=self.state.random | drawn)

    def reset_part(self, *parts: str) -> None:
        """Reset parts to their initial amounts and to the source's own codes."""
        amounts = self.state.amounts | {part: self._bench.first.amounts.get(part, 0.0) for part in parts}
        drawn = {name: seed for name, seed in self.state.random.items() if name not in parts}
        self.state = replace(self.state, amounts=amounts, random=drawn)

    def random_pair(self) -> None:
        """Draw two rendered faces at random."""
        drawn = (Pick("rendered", 0, number, self.choosers["source"].world.value)
                 for number in self._rng.sample(range(10**6), 2))  # fmt: skip
        self.state = replace(self.state, **dict(zip(("source", "target"), drawn, strict=True)))

    def swap_roles(self) -> None:
        """Make the source the target, and the target the source."""
        self.state = replace(self.state, source=self.state.target, target=self.state.source)

    def undo(self) -> None:
        """Return to how it was before the last change."""
        self._remember()
        self._step(self._past, self._future)

    def redo(self) -> None:
        """Make the change again that was undone last."""
        self._remember()
        self._step(self._future, self._past)

    def _remember(self) -> None:
        """Note a change of state or family, so that it can be undone."""
        here = (self._label, self._state)
        if here != self._present:
            self._past = [*self._past, self._present][-PAST:]
            self._future, self._present = [], here
        self._show_steps()

    def _step(self, taken: list[Step], given: list[Step]) -> None:
        if not taken:
            return
        given.append(self._present)
        self._present = taken.pop()
        label, state = self._present
        self._use(label)
        self._show_state(state)
        self._show_steps()

    def _show_steps(self) -> None:
        self._undo.disabled, self._redo.disabled = not self._past, not self._future

    # Families.

    def choose_family(self, label: str) -> None:
        """Show another family: a plain swap of the same faces. label: one of `which.options`.

        A family that can't be loaded, or not show these faces, is reported, and nothing changes.
        """
        with self._guarded():
            if label not in self.which.options:
                raise ValueError(f"no family {label!r}: choose one of {', '.join(self.which.options)}")
            if label not in self._benches:
                self._say(f"loading {label} …")
                self._benches[label] = self._set_up(Renderer(families.load(*self._released[label])))
            bench = self._benches[label]
            bench.renderer.share_uploads(self.renderer)
            picks = {"source": self.state.source, "target": self.state.target}
            state = replace(bench.first, **picks, along=self.state.along)
            bench.renderer.render(state)
            self._remember()
            self._use(label)
            self._state = state
            self._measure()
            self._remember()
        self._write_controls()
        if self.last_error is None:
            self._draw()
            self._later(self._settle)

    def explain(self, group: str) -> None:
        """Say in the status line what a part, or a group of layers, changes (`explanation`)."""
        with self._guarded():
            if self._bench.shares is None:
                self._say(f"measuring what the parts of {self.family.name} change …")
                self._bench.shares = measure_shares(self.family)
            self._say(explain(self._bench.shares, group))

    @property
    def _bench(self) -> Bench:
        return self._benches[self._label]

    @property
    def renderer(self) -> Renderer:
        return self._bench.renderer

    @property
    def family(self) -> Family:
        return self.renderer.family

    @property
    def sliders(self) -> dict[str, widgets.FloatSlider]:
        return self._bench.sliders

    @property
    def groups(self) -> dict[str, widgets.FloatSlider]:
        return self._bench.groups

    @property
    def edits(self) -> dict[str, widgets.FloatSlider]:
        return self._bench.edits

    @property
    def folds(self) -> list[Fold]:
        """The groups of controls, all of which can be closed."""
        return [*self._bench.folds, *self._last_folds]

    @property
    def pacing(self) -> Pace:
        return self._bench.pacing

    @property
    def _edge(self) -> int:
        return int(np.clip(self.renderer.size, 256, 512))

    def _set_up(self, renderer: Renderer, first: State | None = None) -> Bench:
        """Make a family's sliders, which move the state as long as it is shown.

        first: the state to begin with; None: a plain swap of the faces that the studio opened with.
        """
        if first is None:
            opened = self._benches[self._opened].first if self._benches else State()
            strengths = dict.fromkeys(renderer.directions, 0.0)
            first = State(opened.source, opened.target, plain_swap(renderer.family), strengths)
        bench = Bench(
            renderer,
            first,
            {part.name: make_slider(part.name, 0, 1) for part in renderer.family.parts},
            {name: make_slider(name, 0, 1) for name in renderer.groups},
            {name: make_slider(name, -self._reach, self._reach) for name in renderer.directions},
            pacing=Pace(renderer.size, 0.0),
        )
        kinds = {"amounts": bench.sliders, "groups": bench.groups, "strengths": bench.edits}
        for kind, some in kinds.items():
            for name, control in some.items():
                control.observe(partial(self._moved, Slider(kind, name)), "value")
        return bench

    def _use(self, label: str) -> None:
        """Put a family's sliders and screen into the box."""
        self._label, bench = label, self._benches[label]
        self._last_moved = self._path_of = None
        if bench.screen is None:
            bench.screen, bench.folds = self._make_screen(), self._slider_folds()
        self.images["picture"] = bench.screen
        self._place.children = [self.captions["picture"], bench.screen]
        folds = [fold.box for fold in self.folds if fold.rows.children]
        self._controls_box.children = [*self._top, *folds]

    def upload(self, role: str, name: str, content: bytes) -> None:
        """Take a picture file as source or target; it stays in this session only."""
        with self._guarded():
            self._try(replace(self.state, **{role: self.renderer.upload(name, content)}))

    def _no_edits(self) -> dict[str, float]:
        return dict.fromkeys(self.edits, 0.0)

    def _try(self, state: State) -> None:
        """Take over a state if it can be drawn; otherwise raise and change nothing."""
        self.renderer.render(state)
        self.state = state

    # Saving.

    def save_picture(self, name: str = "picture") -> Path:
        """Save the picture as PNG; its metadata says that it is synthetic, and how it was made."""
        path = free(self.folder, name, ".png")
        # A saved picture may be shared: it names photographs, but not their folders.
        picks = (replace(pick, path=Path(pick.path).name) for pick in (self.state.source, self.state.target))
        told = replace(self.state, **dict(zip(("source", "target"), picks, strict=True))).to_json()
        text = f"Family {self.family.name}, {' '.join(told.split())}"
        image = self.renderer.render(self.state)
        return figures.save_picture(image, path, source=self.renderer.digital_source(self.state), text=text)

    # Controls.

    def _make_controls(self, files: list[str]) -> None:
        widths = {"source": 128, "target": 128, "true swap": 128, "path": PATH * 100 - 4}
        self.images = {name: make_image(name, width, 96 if name == "path" else width) for name, width in widths.items()}
        self.captions = {name: widgets.HTML() for name in (*self.images, "picture")}
        for caption in self.captions.values():
            caption.add_class("swaplib-caption")
        self.choosers = {
            role: Chooser(role, getattr(self.state, role), files, partial(self._pick, role),
                           partial(self.upload, role), self._rng)
            for role in ("source", "target")
        }  # fmt: skip
        self.which = widgets.Dropdown(options=[self._opened, *self._released], **labelled("family"))
        self.which.observe(self._chosen, "value")
        self._undo = make_icon("↶", "undo", self.undo)
        self._redo = make_icon("↷", "redo", self.redo)

    def _make_screen(self) -> Screen:
        order = list(self.sliders)
        return Screen(
            width=self._edge, sliders=[*self.sliders.values(), *self.edits.values(), self.along],
            groups=list(self.groups.values()),
            members=[[order.index(part) for part in parts] for parts in self.renderer.groups.values()],
        )  # fmt: skip

    def _layout(self) -> widgets.Widget:
        small = [widgets.VBox([self.captions[name], self.images[name]]) for name in ("source", "target", "true swap")]
        self._place, self._controls_box = widgets.VBox(), make_box("controls")
        wrap = widgets.Layout(flex_flow="row wrap", grid_gap="2px")
        buttons = [
            make_button("plain swap", "the parts of a plain swap from the source", self.plain_swap),
            make_button("all from source", "every part from the source", self.everything),
            make_button("random pair", "two rendered faces drawn at random", self.random_pair),
            make_button("swap roles", "the source becomes the target, and the target the source", self.swap_roles),
            make_button("reset everything", "back to what the studio opened with", self.reset),
            self._undo,
            self._redo,
        ]
        along = make_row(self.along, make_icon("↺", "reset all together", self._reset_along))
        self._top = [self.which, widgets.HBox(buttons, layout=wrap), along]
        faces = widgets.HBox([one.box for one in self.choosers.values()], layout=wrap)
        self._last_folds = [
            Fold("faces and your own photographs", [faces], folded=True),
            Fold("save and restore", [widgets.VBox(self._files())], folded=True),
        ]
        stage = make_box("stage", self._place, make_box("small", *small, across=True))
        body = make_box("body", stage, self._controls_box, across=True)
        path = widgets.VBox([self.captions["path"], self.images["path"]])
        return make_box("app", body, self.status, path, self.page)

    def _slider_folds(self) -> list[Fold]:
        """Return a family's sliders, in groups that fold."""
        parts = [self._part_row(name) for name in self.sliders]
        return [
            Fold("layers: 0 the target's, 1 the source's", [self._group_row(name) for name in self.groups]),
            Fold("parts: 0 the target's, 1 the source's", parts, folded=bool(self.groups)),
            *self._edit_folds(),
        ]

    def _edit_folds(self) -> list[Fold]:
        """Return the edits in a group for each part that their names begin with; open where they are few."""
        named = {name: name.split(": ")[0] if ": " in name else "" for name in self.edits}
        return [
            Fold(f"edits of {words(part)}" if part else "edits",
                 [self._edit_row(name) for name in named if named[name] == part], folded=len(self.edits) > FEW)
            for part in dict.fromkeys(named.values())
        ]  # fmt: skip

    def _part_row(self, name: str) -> widgets.HBox:
        row = [self.sliders[name], make_icon("↺", f"reset {words(name)}", partial(self.reset_part, name))]
        if self.renderer.generative:
            row.append(make_icon("⚄", f"a random {words(name)}", partial(self.randomize, name)))
        if not any(name in parts for parts in self.renderer.groups.values()):
            row.append(self._explain_icon(name))
        return make_row(*row)

    def _explain_icon(self, name: str) -> widgets.Button:
        return make_icon("?", f"what {words(name)} changes", partial(self.explain, name))

    def _group_row(self, name: str) -> widgets.HBox:
        button = make_icon("↺", f"reset {words(name)}", partial(self.reset_part, *self.renderer.groups[name]))
        return make_row(self.groups[name], button, self._explain_icon(name))

    def _edit_row(self, name: str) -> widgets.HBox:
        slider = self.edits[name]
        slider.description = words(name.split(": ")[-1])
        return make_row(slider, make_icon("↺", f"reset {words(name)}", lambda: setattr(slider, "value", 0.0)))

    def _reset_along(self) -> None:
        self.along.value = 1.0

    def _pick(self, role: str, pick: Pick) -> None:
        self.state = replace(self.state, **{role: pick})

    def _chosen(self, change: Mapping[str, Any]) -> None:
        if not self._writing:
            self.choose_family(change["new"])

    def _moved(self, slider: Slider, change: Mapping[str, Any]) -> None:
        """Handle a slider's move by the user; ignore it while the controls are being written."""
        if not self._writing:
            self._move(slider, change["new"])

    def _write_controls(self) -> None:
        """Make the controls show the state."""
        self._writing = True
        try:
            self.which.value = self._label
            for role, chooser in self.choosers.items():
                chooser.show(getattr(self.state, role))
            for name, slider in self.sliders.items():
                slider.value = self.state.amounts.get(name, 0.0)
                slider.description = words(name) + (" (random)" if name in self.state.random else "")
            for name, slider in self.groups.items():
                slider.value = self._stands(Slider("groups", name))
            for name, slider in self.edits.items():
                slider.value = self.state.strengths.get(name, 0.0)
            self.along.value = self.state.along
        finally:
            self._writing = False

    # Drawing.

    @property
    def pace(self) -> str:
        return self.pacing.name

    @property
    def frame_seconds(self) -> float:
        return self.pacing.seconds

    def _measure(self) -> None:
        """Choose the first pace by the time that a frame takes here."""
        size = self.renderer.size
        # Directions and random codes have the full size, so they fit no smaller picture.
        free = self.family.any_size and not self.renderer.directions and not self.renderer.generative
        smaller = [edge for edge in (size // 2, size // 4) if free and edge >= 32]
        seconds = self.renderer.seconds(self.state)
        renderer = self.renderer
        self._bench.pacing = Pace(size, seconds, smaller, lambda edge: renderer.seconds(self.state, size=edge))
        self._follow_pace()

    def _follow_pace(self) -> None:
        for control in (*self.sliders.values(), *self.groups.values(), *self.edits.values(), self.along):
            control.continuous_update = self.pace != "release"

    def _frame(self, state: State, size: int | None = None) -> bytes:
        size = size or self.renderer.size
        for pick in (state.source, state.target):
            self.renderer.encode(pick, size)  # once for a face, so no part of what a frame takes
        start = time.perf_counter()
        frame = jpeg(resized(self.renderer.render(state, None if size == self.renderer.size else size), self._edge))
        self.pacing.note(size, time.perf_counter() - start)
        return frame

    def _draw(self) -> None:
        """Draw the frame of a moving slider: only the picture."""
        with self._guarded():
            edge = self.pacing.edge
            self._small = edge < self.renderer.size
            self.images["picture"].show(self._frame(self.state, edge), self._key(self.state))

    def _settle(self) -> None:
        """Draw what can wait until the slider rests: full size, other controls, faces, true swap, notes; then more."""
        with self._guarded():
            if self._small:
                self.images["picture"].show(self._frame(self.state), self._key(self.state))
            self._write_controls()
            for role in self.choosers:
                self._show(role, self.renderer.face(getattr(self.state, role)))
            self._show("true swap", self.renderer.true_swap(self.state))
            self._remember()
            self._follow_pace()
            self._tell()
            self._draw_path()

    def _draw_path(self, drawn: Sequence[np.ndarray] = ()) -> None:
        """Draw the path a picture at a time, so that a slider which moves meanwhile waits for no more than that."""
        if self._path_of == replace(self.state, along=1.0):
            self._look_ahead()
        elif len(drawn) < PATH:
            with self._guarded():
                one = self.renderer.render(replace(self.state, along=len(drawn) / (PATH - 1)))
                self._later(partial(self._draw_path, [*drawn, one]), 0.01)
        else:
            self.images["path"].value = jpeg(side_by_side(drawn, 96))
            self._path_of, self._drawn = replace(self.state, along=1.0), drawn
            self._look_ahead()

    def _look_ahead(self) -> None:
        """Keep how the studio looks, and offer the frames beside the slider that was moved last."""
        self._keep_still()
        if self.pace == "smooth" and self._last_moved is not None:
            self.images["picture"].rest(self._upcoming)

    def _upcoming(self) -> Upcoming:
        kind, name = self._last_moved
        kinds = {"amounts": self.sliders, "groups": self.groups, "strengths": self.edits}
        control = self.along if kind == "along" else kinds[kind][name]
        beside = list_nearest(self._stands(self._last_moved), control.min, control.max, control.step, AHEAD)
        for state in (self.renderer.move(self.state, self._last_moved, value) for value in beside):
            yield self._key(state), partial(self._frame, state)

    def _stands(self, slider: Slider) -> float:
        """Return where a slider stands; for a group of parts that differ, in the middle."""
        kind, name = slider
        if kind == "along":
            return self.state.along
        if kind == "groups":
            return round(fmean(self.state.amounts.get(part, 0.0) for part in self.renderer.groups[name]), 4)
        return getattr(self.state, kind).get(name, 0.0)

    def _key(self, state: State) -> str:
        """Return the key of a state's frame, as the browser makes it of its sliders (`Screen`)."""
        amounts = [state.amounts.get(name, 0.0) for name in self.sliders]
        strengths = {name: state.strengths.get(name, 0.0) for name in self.edits}
        shown = {name: min(max(strengths[name], one.min), one.max) for name, one in self.edits.items()}
        # Beyond its slider's end, the browser can't tell one strength from another.
        beyond = {name: strength for name, strength in strengths.items() if strength != shown[name]}
        picks = (state.source, state.target)
        rest = (picks, [stamp(pick) for pick in picks], sorted(state.random.items()), beyond)
        return make_key(repr(rest), [*amounts, *shown.values(), state.along])

    def _tell(self) -> None:
        """Write captions and notes."""
        texts = {name: name for name in self.captions} | {"path": "the way from the target to the picture"}
        if not (self.state.source.rendered and self.state.target.rendered):
            texts["true swap"] = "true swap: unknown"
        for name, text in texts.items():
            self.captions[name].value = f"<b>{html.escape(text)}</b>"
        self._name_pictures()
        notes = {role: self.renderer.note(getattr(self.state, role)) for role in self.choosers}
        told = [f"{role}: {note}" for role, note in notes.items() if note]
        how = {"smooth": "", "preview": ", small while a slider moves", "release": ", drawn when a slider is let go"}
        size = f"{self.renderer.size} pixels, {1000 * self.frame_seconds:.0f} ms a frame{how[self.pace]}"
        self._say(" · ".join([*told, size]))

    def _name_pictures(self) -> None:
        """Write what each picture shows, for those who don't see it."""
        source, target = (describe(pick) for pick in (self.state.source, self.state.target))
        moved = [f"{words(name)} {amount:.2f}" for name, amount in self.state.amounts.items() if amount]
        moved += [f"{words(name)} {strength:+.2f}" for name, strength in self.state.strengths.items() if strength]
        told = {
            "picture": f"{self.family.name} takes from the source: {', '.join(moved) or 'nothing'}",
            "source": f"source, {source}",
            "target": f"target, {target}",
            "true-swap": "true swap, what a perfect swap would show",
            "path": f"{PATH} pictures on the way from the target to the picture",
        }
        self.page.told = {name: f"synthetic picture: {text}" if name != "source" and name != "target" else text
                          for name, text in told.items()}  # fmt: skip

    def _still(self) -> np.ndarray:
        path = self._drawn if self._path_of == replace(self.state, along=1.0) else None
        return still(self.renderer, self.state, path=path)
