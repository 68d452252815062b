"""The sliders of the studio, in ipywidgets: they write the state and show what the renderer makes of it."""

from __future__ import annotations

import html
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np

from swaplib import families, figures
from swaplib.families import Codes, Family
from swaplib.studio.bench import Bench, list_released
from swaplib.studio.chooser import Chooser
from swaplib.studio.controls import (
    App,
    Fold,
    free,
    labelled,
    make_box,
    make_button,
    make_icon,
    make_image,
    make_row,
    make_slider,
)
from swaplib.studio.explanation import describe_pictures, explain, measure_shares
from swaplib.studio.pace import Pace
from swaplib.studio.renderer import (
    ALONG,
    PATH,
    Pick,
    Renderer,
    Slider,
    State,
    jpeg,
    plain_swap,
    side_by_side,
    still,
)
from swaplib.studio.rows import make_folds
from swaplib.studio.turns import in_turn

PAST = 100
"""How many steps can be undone."""
Step = tuple[str, State]
"""Which family is shown, and its state."""


class Studio(App):
    """The app. Show it as the last line of a cell; `state` may be read and set, `renderer` used by itself.

    state: the initial one; None: a plain swap of two rendered faces. size, directions: as in `Renderer`; directions
    found by `latent.directions` go through its `make_sliders`. Where the family has layers, a slider for each of
    their groups (`layers.group_parts`) moves them together.
    files: photographs to offer by name. folder: where pictures and states are saved; None: build/studio.
    reach: the edit sliders go from -reach to reach. seed: of the random buttons.
    Other families take the place of the given one by `choose_family`; the faces stay. `undo` and `redo` go through
    states and families. What can't be drawn is told in the status line, and nothing changes.
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
        renderer = Renderer(family, size, directions)
        plain = _begin(renderer, State())
        self._benches[self._opened] = self._set_up(renderer, state or plain)
        self._label, self._state = self._opened, state or plain
        with self._guarded():
            self.bench.measure(self._state)
        if failed := self.last_error:  # a plain swap of rendered faces can be drawn
            self.bench.first = self._state = plain
            self.bench.measure(plain)
        self._past: list[Step] = []
        self._future: list[Step] = []
        self._present: Step = (self._label, self._state)
        self._make_controls([str(path) for path in files])
        self.box = self._layout()
        self._use(self._opened)
        with self._guarded():
            self._list_saved()
        self._write_controls()
        self._draw()
        self._settle()
        if failed:
            self._report(failed)

    # The state and what changes it.

    @property
    def state(self) -> State:
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        with self._guarded():
            self._try(state)

    def _try(self, state: State, label: str | None = None) -> None:
        """Take over a state, and a family, if they can be drawn; otherwise raise and change nothing."""
        label = label or self._label
        frame = self._draw_moving(label, state)
        self._remember()
        self._show_state(label, state, frame)
        self._remember()

    def _show_state(self, label: str, state: State, frame: tuple[bytes, bool]) -> None:
        if label != self._label:
            self._use(label)
        self._state = state
        self._write_controls()
        self._show_frame(frame)
        self._later(self._settle)

    def _move(self, slider: Slider, value: float) -> None:
        """Follow a slider that the user moves; the other controls follow when it rests."""
        self._state, self._last_moved = self.renderer.move(self.state, slider, value), slider
        self._draw()
        self._later(self._settle)

    def reset(self) -> None:
        """Return to the initial state."""
        self.state = self.bench.first

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
        amounts = self.state.amounts | {part: self.bench.first.amounts.get(part, 0.0) for part in parts}
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
        if taken:
            with self._guarded():
                label, state = taken[-1]
                frame = self._draw_moving(label, state)
                given.append(self._present)
                self._present = taken.pop()
                self._show_state(label, state, frame)
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
                renderer = Renderer(families.load(*self._released[label]))
                opened = self._benches[self._opened].first
                self._benches[label] = self._set_up(renderer, _begin(renderer, opened))
            bench = self._benches[label]
            bench.renderer.share_uploads(self.renderer)
            picks = {"source": self.state.source, "target": self.state.target}
            state = replace(bench.first, **picks, along=self.state.along)
            bench.measure(state)
            self._try(state, label)
        self._write_controls()

    def explain(self, group: str) -> None:
        """Say in the status line what a part, or a group of layers, changes (`explanation`)."""
        with self._guarded():
            if self.bench.shares is None:
                self._say(f"measuring what the parts of {self.family.name} change …")
                self.bench.shares = measure_shares(self.family)
            self._say(explain(self.bench.shares, group))

    @property
    def bench(self) -> Bench:
        """What the studio has of the family that is shown."""
        return self._benches[self._label]

    @property
    def renderer(self) -> Renderer:
        return self.bench.renderer

    @property
    def family(self) -> Family:
        return self.renderer.family

    @property
    def sliders(self) -> dict[str, widgets.FloatSlider]:
        return self.bench.sliders

    @property
    def groups(self) -> dict[str, widgets.FloatSlider]:
        return self.bench.groups

    @property
    def edits(self) -> dict[str, widgets.FloatSlider]:
        return self.bench.edits

    @property
    def folds(self) -> list[Fold]:
        """The groups of controls, all of which can be closed."""
        return [*self.bench.folds, *self._last_folds]

    @property
    def pacing(self) -> Pace:
        return self.bench.pacing

    def _set_up(self, renderer: Renderer, first: State) -> Bench:
        bench = Bench(renderer, first, self.along, self._reach, self._moved)
        bench.folds = make_folds(bench, self.reset_part, self.randomize, self.explain)
        return bench

    def _use(self, label: str) -> None:
        """Put a family's sliders and screen into the box."""
        self._label = label
        self._last_moved = self._path_of = None
        self.images["picture"] = self.bench.screen
        self._place.children = [self.captions["picture"], self.bench.screen]
        folds = [fold.box for fold in self.folds if fold.rows.children]
        self._controls_box.children = [*self._top, *folds]

    def upload(self, role: str, name: str, content: bytes) -> None:
        """Take a picture file as source or target; it stays in this session only."""
        with self._guarded():
            self._try(replace(self.state, **{role: self.renderer.upload(name, content)}))

    def _no_edits(self) -> dict[str, float]:
        return dict.fromkeys(self.edits, 0.0)

    # Saving.

    def save_picture(self, name: str = "picture") -> Path:
        """Save the picture as PNG; its metadata says that it is synthetic, and how it was made."""
        return self._save_image(self.renderer.render(self.state), free(self.folder, name, ".png"))

    def save_photograph(self, name: str = "picture") -> Path:
        """Save the target's whole photograph with the picture in its place, as `save_picture` does.

        Raises PhotoError where the target is no photograph.
        """
        image = self.renderer.photograph(self.state)
        name = Path(name).name.removesuffix(".png")
        return self._save_image(image, free(self.folder, f"{name}-photograph", ".png"))

    def _save_image(self, image: np.ndarray, path: Path) -> Path:
        # A saved picture may be shared: it names photographs, but not their folders.
        picks = (replace(pick, path=Path(pick.path).name) for pick in (self.state.source, self.state.target))
        told = replace(self.state, **dict(zip(("source", "target"), picks, strict=True))).to_json()
        text = f"Family {self.family.name}, {' '.join(told.split())}"
        return figures.save_picture(image, path, source=self.renderer.digital_source(self.state), text=text)

    def _files(self) -> list[widgets.Widget]:
        told = "the target's photograph with the picture in its place, at its own size, as PNG, marked as synthetic"
        whole = make_button("save photograph", told, partial(self._save, self.save_photograph))
        name, picture, *rest = super()._files()
        return [name, picture, whole, *rest]

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

    def _layout(self) -> widgets.Widget:
        small = [
            make_box(f"for-{name}" if name in self.choosers else "truth", self.captions[name], self.images[name])
            for name in ("source", "target", "true swap")
        ]
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
        beside = widgets.Layout(flex_flow="row wrap", grid_gap="10px 14px")
        faces = widgets.HBox([one.box for one in self.choosers.values()], layout=beside)
        self._last_folds = [
            Fold("faces and your own photographs", [faces], folded=True),
            Fold("save and restore", [widgets.VBox(self._files())], folded=True),
        ]
        stage = make_box("stage", self._place, make_box("small", *small, across=True))
        body = make_box("body", stage, self._controls_box, across=True)
        path = widgets.VBox([self.captions["path"], self.images["path"]])
        return make_box("app", body, self.status, path, self.page)

    def _reset_along(self) -> None:
        self.along.value = 1.0

    def _pick(self, role: str, pick: Pick) -> None:
        self.state = replace(self.state, **{role: pick})

    @in_turn
    def _chosen(self, change: Mapping[str, Any]) -> None:
        if not self._writing:
            self.choose_family(change["new"])

    @in_turn
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
            self.bench.write(self.state)
        finally:
            self._writing = False

    # Drawing.

    @property
    def pace(self) -> str:
        return self.pacing.name

    @property
    def frame_seconds(self) -> float:
        return self.pacing.seconds

    def _draw_moving(self, label: str, state: State) -> tuple[bytes, bool]:
        """Draw the frame of a moving slider, and say whether it is a small one."""
        bench = self._benches[label]
        edge = bench.pacing.edge
        return bench.frame(state, edge), edge < bench.renderer.size

    def _show_frame(self, frame: tuple[bytes, bool]) -> None:
        picture, self._small = frame
        self.bench.screen.show(picture, self.bench.key(self.state))

    def _draw(self) -> None:
        with self._guarded():
            self._show_frame(self._draw_moving(self._label, self.state))

    def _settle(self) -> None:
        """Draw what can wait until the slider rests: full size, other controls, faces, true swap, notes; then more."""
        with self._guarded():
            if self._small:
                self._show_frame((self.bench.frame(self.state), False))
            self._write_controls()
            for role, chooser in self.choosers.items():
                self._show(role, self.renderer.face(getattr(self.state, role)))
                chooser.show_crop(self.renderer.crop(getattr(self.state, role)))
            self._show("true swap", self.renderer.true_swap(self.state))
            self._remember()
            self.bench.follow_pace()
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
            self.bench.screen.rest(partial(self.bench.list_upcoming, self.state, self._last_moved))

    def _tell(self) -> None:
        """Write captions and notes."""
        texts = {name: name for name in self.captions} | {"path": "the way from the target to the picture"}
        if not (self.state.source.rendered and self.state.target.rendered):
            texts["true swap"] = "no true swap"
        for name, text in texts.items():
            self.captions[name].value = f"<b>{html.escape(text).replace('true swap', 'true&nbsp;swap')}</b>"
        crops = self.choosers["source"].tell_crop() | self.choosers["target"].tell_crop()
        self.page.told = describe_pictures(self.family.name, self.state) | crops
        notes = {role: self.renderer.note(getattr(self.state, role)) for role in self.choosers}
        told = [f"{role}: {note}" for role, note in notes.items() if note]
        how = {"smooth": "", "preview": ", small while a slider moves", "release": ", drawn when a slider is let go"}
        size = f"{self.renderer.size} pixels, {1000 * self.frame_seconds:.0f} ms a frame{how[self.pace]}"
        self._say(" · ".join([*told, size]))

    def _still(self) -> np.ndarray:
        path = self._drawn if self._path_of == replace(self.state, along=1.0) else None
        return still(self.renderer, self.state, path=path)


def _begin(renderer: Renderer, opened: State) -> State:
    """Return a plain swap of the faces that the studio opened with."""
    return State(opened.source, opened.target, plain_swap(renderer.family), dict.fromkeys(renderer.directions, 0.0))
