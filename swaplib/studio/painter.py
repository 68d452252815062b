"""The painter: paint a face's mask region by region, and see what a family makes of it.

The board is a widget of its own (painter.js). It draws strokes by itself while the pointer moves, and sends each
finished one as an edit; here the edit is applied to the mask, which goes back to the board, and the picture is drawn.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import numpy as np
import traitlets

from swaplib import figures
from swaplib.faces import CELEBAMASK_HQ, LABEL_COLOURS, Faces
from swaplib.families import Family
from swaplib.studio import masks
from swaplib.studio.chooser import Chooser
from swaplib.studio.controls import (
    App,
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
from swaplib.studio.masks import Canvas, Edit, Paintable, Point
from swaplib.studio.pace import Pace
from swaplib.studio.painted import Painting, PaintRenderer, Reference, still, texture_part
from swaplib.studio.renderer import Pick, jpeg, resized
from swaplib.studio.screen import read_shipped
from swaplib.studio.turns import in_turn

Face = Pick | Faces | int | str | os.PathLike
"""A face to paint on or to take from: `Pick`, one face of a record, the number of a rendered face, or a photograph."""


def runs(mask: np.ndarray) -> bytes:
    """Encode a label map as runs of equal labels, row by row: 32 bits each, little-endian, label + 256 x length."""
    flat = mask.reshape(-1).astype(np.uint32)
    starts = np.concatenate(([0], np.flatnonzero(np.diff(flat)) + 1))
    lengths = np.diff(np.concatenate((starts, [flat.size])))
    return (flat[starts] + 256 * lengths).astype("<u4").tobytes()


class Board(anywidget.AnyWidget):
    """The mask over the picture, with tools, palette, undo and the transforms of the chosen region.

    seen is the number of the last message that was answered; the board shows newer strokes over the mask itself.
    """

    _esm = read_shipped("painter.js")
    _css = read_shipped("painter.css")
    names = traitlets.List(traitlets.Unicode(), list(CELEBAMASK_HQ)).tag(sync=True)
    colours = traitlets.List(traitlets.Unicode(), ["#" + bytes(c).hex() for c in LABEL_COLOURS.tolist()]).tag(sync=True)
    shape = traitlets.List(traitlets.Int()).tag(sync=True)
    edge = traitlets.Int(384).tag(sync=True)
    picture = traitlets.Bytes().tag(sync=True)
    mask = traitlets.Bytes().tag(sync=True)
    seen = traitlets.Int(0).tag(sync=True)
    can_undo = traitlets.Bool(False).tag(sync=True)
    can_redo = traitlets.Bool(False).tag(sync=True)
    # What the board sends is not echoed to it: it may have moved on since.
    tool = traitlets.Enum(["brush", "outline", "fill", "pick"], "brush").tag(sync=True, echo_update=False)
    region = traitlets.Enum(CELEBAMASK_HQ, "hair").tag(sync=True, echo_update=False)
    brush = traitlets.Int(8, min=1).tag(sync=True, echo_update=False)
    opacity = traitlets.Float(0.6, min=0, max=1).tag(sync=True, echo_update=False)


class Painter(App, Paintable):
    """The app. Show it as the last line of a cell; what the mouse does, its methods do too, and each returns it.

    >>> painter = Painter(0, families.load(...))
    >>> painter.paint("nose", [(60, 50), (70, 80), (50, 80)]).grow("hair", 3).reference("hair", 7)

    face: whose mask is painted. family: any that keeps a label map among its parts. state: the initial one, its
    face replaced by `face`; None: an unpainted mask. size: of the pictures in pixels; None for the family's own.
    files: photographs to offer by name. folder: where pictures, masks and states are saved; None: build/studio.
    edge: of the board and the picture on the screen. seed: of the random buttons.
    Points are pixels of the mask, as in `studio.masks`. A method that can't do what is asked raises ValueError;
    what the family then can't draw is reported in the status line and kept in last_error, as in `App`.
    """

    State = Painting

    def __init__(
        self,
        face: Face,
        family: Family,
        state: Painting | None = None,
        size: int | None = None,
        files: Sequence[str | Path] = (),
        folder: str | Path | None = None,
        edge: int = 384,
        seed: int = 0,
    ):
        super().__init__(folder, "painting")
        self.family, self.renderer = family, PaintRenderer(family, size)
        self._first = self._state = replace(state or Painting(), face=self._pick(face))
        self._canvas = Canvas(self.renderer.first_mask(self._state.face), self._state.edits)
        self._rng, self._writing = random.Random(seed), False
        self.pacing = Pace(self.renderer.faces.size, 0.0)
        self._lender = Pick(number=self._state.face.number + 1)
        self._make_controls([str(path) for path in files], edge)
        self.box = self._layout()
        with self._guarded():
            self._list_saved()
            self.pacing = Pace(self.renderer.faces.size, self.renderer.seconds(self.state))
        self._choose_region()
        self._show_face()
        self._follow()

    @property
    def frame_seconds(self) -> float:
        """What the last frames took, in seconds."""
        return self.pacing.seconds

    # The state and what changes it.

    @property
    def state(self) -> Painting:
        return self._state

    @state.setter
    def state(self, state: Painting) -> None:
        self._try(state)

    def _try(self, state: Painting) -> None:
        """Take over a painting if it can be drawn; otherwise raise and change nothing."""
        self.renderer.codes(state)
        same = state.face == self._state.face
        if not same or state.edits != self._canvas.edits:
            self._canvas = Canvas(self.renderer.first_mask(state.face), state.edits)
        self._state = state
        if not same:
            self._show_face()
        self._follow()

    def _pick(self, face: Face) -> Pick:
        if isinstance(face, Faces):
            return self.renderer.faces.take(face)
        if isinstance(face, (str, os.PathLike)):
            return Pick("file", path=os.fspath(face))
        return face if isinstance(face, Pick) else Pick(number=face)

    @property
    def mask(self) -> np.ndarray:
        """The mask as it is now, uint8 (H, W), read-only."""
        return self._canvas.mask

    @property
    def edits(self) -> tuple[Edit, ...]:
        """What has been done to the mask and not undone."""
        return self._canvas.edits

    def picture(self) -> np.ndarray:
        """Return what the family makes of the mask and the references, uint8 RGB (size, size, 3)."""
        return self.renderer.render(self.state)

    def apply(self, edit: Edit) -> Painter:
        """Apply an edit to the mask."""
        self._canvas.apply(edit)
        return self._edited()

    def pick(self, point: Point) -> str:
        """Choose the region at a point on the board, and return its name."""
        self.board.region = self._canvas.pick(point)
        return self.board.region

    def undo(self) -> Painter:
        self._canvas.undo()
        return self._edited()

    def redo(self) -> Painter:
        self._canvas.redo()
        return self._edited()

    def reset(self) -> Painter:
        """Undo every edit; `redo` brings them back. References stay."""
        self._canvas.reset()
        return self._edited()

    def reference(self, region: str, face: Face | None, strength: float = 1.0) -> Painter:
        """Take a part's code from another face: all of it at strength 1; None gives the part its own code back.

        region: one of the mask's, or a part by name. Raises ValueError where the family has no such part.
        """
        names = self.renderer.textures
        part = region if region in names else texture_part(self.family, region)
        if part is None:
            raise ValueError(f"{self.family.name} has no part for {region}: its parts are {', '.join(names)}")
        references = {name: one for name, one in self.state.references.items() if name != part}
        if face is not None:
            references[part] = Reference(self._pick(face), strength)
        self._lent.value = part
        self._try(replace(self.state, references=references))
        return self

    def start_over(self) -> None:
        """Return to the initial face, mask and references."""
        self.state = self._first

    # Saving.

    def save_picture(self, name: str = "painting") -> Path:
        """Save the picture as PNG; its metadata says that it is synthetic, and how it was made."""
        path = free(self.folder, name, ".png")
        source, text = self.renderer.digital_source(self.state), self.renderer.story(self.state)
        return figures.save_picture(self.picture(), path, source=source, text=text)

    def save_mask(self, name: str = "mask") -> Path:
        """Save the mask as a palette PNG, to continue with it elsewhere."""
        return masks.save(self.mask, free(self.folder, f"{Path(name).name.removesuffix('.png')}-mask", ".png"))

    def load_mask(self, path: str | Path, colours: bool = False) -> Painter:
        """Replace the mask by one from a file (`masks.load`). The edit holds all of it, not the path."""
        return self.put(masks.load(path, self.mask.shape, colours))

    # Controls.

    def _make_controls(self, files: list[str], edge: int) -> None:
        self.board = Board(shape=list(self.mask.shape), edge=edge, brush=max(1, round(max(self.mask.shape) / 16)))
        self.board.on_msg(self._received)
        self.board.observe(in_turn(lambda _: self._choose_region()), "region")
        self.images = {"picture": make_image("picture", edge, edge), "reference": make_image("reference", 96, 96)}
        self.images["reference"].layout.width = "96px"
        picks = {"face": self.state.face, "reference": self._lender}
        self.choosers = {
            role: Chooser(role, pick, files, partial(self._chosen, role), partial(self._uploaded, role), self._rng)
            for role, pick in picks.items()
        }
        self._lent = widgets.Dropdown(
            options=[(words(name), name) for name in self.renderer.textures], **labelled("part")
        )
        self._lent.observe(in_turn(lambda _: self._write_controls()), "value")
        self.strength = make_slider("strength", 0, 1)
        self.strength.observe(self._strengthened, "value")
        self.told = widgets.HTML()
        self.mask_file = widgets.Text(placeholder="a mask's PNG file", continuous_update=False, **labelled("mask"))

    def _layout(self) -> widgets.Widget:
        wrap = widgets.Layout(flex_flow="row wrap", grid_gap="4px 14px", align_items="flex-start")
        strength = make_row(self.strength, make_icon("↺", "reset strength: the part's own code", self._own_again))
        lent = widgets.VBox([self._lent, strength, self.told], layout=widgets.Layout(flex="1 1 14em"))
        reference = widgets.HBox([lent, self.choosers["reference"].box, self.images["reference"]], layout=wrap)
        files = [
            self.mask_file,
            widgets.HBox([
                make_button("load mask", "of the file", self._load),
                make_button("save mask", "as palette PNG", partial(self._save, self.save_mask)),
            ]),
            *self._files(),
        ]  # fmt: skip
        self.folds = [
            Fold("texture by reference", [reference]),
            Fold("face or your own photograph", [self.choosers["face"].box], folded=True),
            Fold("save and restore", [widgets.VBox(files)], folded=True),
        ]
        again = make_button("reset everything", "back to what the painter opened with", self._start_over)
        beside = [self.images["picture"], self.status, widgets.HBox([again]), *(fold.box for fold in self.folds)]
        body = make_box("body", make_box("half", self.board), make_box("half", *beside), across=True)
        return make_box("app", body, self.page)

    @in_turn
    def _received(self, board: Board, content: Mapping[str, Any], buffers: Sequence[bytes]) -> None:
        """Handle a message of the board; answer it even after an error, so that the board shows the true mask."""
        number = content.get("id") if isinstance(content, Mapping) else None
        with self._guarded():
            if isinstance(content, Mapping) and "edit" in content:
                self._canvas.apply(Edit.from_record(content["edit"]))
            elif isinstance(content, Mapping) and content.get("do") in ("undo", "redo", "reset"):
                getattr(self._canvas, content["do"])()
            else:
                raise ValueError(f"the board sent {content!r:.60}, which is no edit")
        self._show_mask(number if type(number) is int and 0 <= number < 1 << 53 else self.board.seen)
        if self.last_error is None:
            self._state = replace(self._state, edits=self._canvas.edits)
            self._draw_soon()

    def _chosen(self, role: str, pick: Pick) -> None:
        with self._guarded():
            if role == "face":
                self._try(replace(self.state, face=pick, edits=()))  # another face has another mask
            else:
                self._lender = pick
                self._lend(pick, self.strength.value or 1.0)

    def _uploaded(self, role: str, name: str, content: bytes) -> None:
        with self._guarded():
            pick = self.renderer.faces.upload(name, content)
            self.renderer.faces.encode(pick)
            self._chosen(role, pick)

    def _lend(self, face: Pick | None, strength: float = 1.0) -> None:
        with self._guarded():
            self.reference(self._lent.value, face, strength)

    def _own_again(self) -> None:
        self._lend(None)

    @in_turn
    def _strengthened(self, change: Mapping[str, Any]) -> None:
        if not self._writing:
            self._lender = self.choosers["reference"].pick
            self._lend(self._lender if change["new"] else None, change["new"])

    def _load(self) -> None:
        with self._guarded():
            self.load_mask(self.mask_file.value.strip())

    def _start_over(self) -> None:
        with self._guarded():
            self.start_over()

    def _choose_region(self) -> None:
        """Let the references' part follow the board's region, where the family has one for it."""
        part = texture_part(self.family, self.board.region)
        if part is not None:
            self._lent.value = part

    # Drawing.

    def _edited(self) -> Painter:
        self._state = replace(self._state, edits=self._canvas.edits)
        self._follow()
        return self

    def _follow(self) -> None:
        """Make everything show the state."""
        self._show_mask(self.board.seen)
        self._write_controls()
        self._draw()

    def _show_mask(self, seen: int) -> None:
        with self.board.hold_sync():
            self.board.mask, self.board.seen = runs(self.mask), seen
            self.board.can_undo, self.board.can_redo = self._canvas.can_undo, self._canvas.can_redo

    def _show_face(self) -> None:
        self.board.picture = jpeg(resized(self.renderer.faces.face(self.state.face), self.board.edge))

    def _write_controls(self) -> None:
        """Make the controls show the state."""
        self._writing = True
        try:
            lent = self.state.references.get(self._lent.value)
            self.choosers["face"].show(self.state.face)
            self.choosers["reference"].show(lent.face if lent else self._lender)
            self.choosers["face"].show_crop(self.renderer.faces.crop(self.state.face))
            self.choosers["reference"].show_crop(self.renderer.faces.crop(lent.face) if lent else None)
            self.strength.value = lent.strength if lent else 0.0
            self._show("reference", self.renderer.faces.face(lent.face) if lent else None)
        finally:
            self._writing = False
        shares = [f"{words(part)} {100 * one.strength:.0f} %" for part, one in self.state.references.items()]
        self.told.value = f"from references: {', '.join(shares) or 'nothing yet'}"

    def _draw_soon(self) -> None:
        """Draw now; with a slow family, only when no stroke has come for a moment."""
        if self.pacing.name == "smooth":
            self._draw()
        else:
            self._say("drawing …")
            self._later(self._draw)

    def _draw(self) -> None:
        with self._guarded():
            self.renderer.codes(self.state)  # encodings are made once, so they are no part of what a frame takes
            start = time.perf_counter()
            self._show("picture", self.picture())
            self.pacing.note(self.pacing.size, time.perf_counter() - start)
            self.strength.continuous_update = self.pacing.name == "smooth"
            lent = self.state.references.get(self._lent.value)
            told = f"synthetic picture: {self.family.name} follows the painted mask of {describe(self.state.face)}"
            told = {"picture": told, "reference": describe(lent.face) if lent else ""}
            self.page.told = told | self.choosers["face"].tell_crop() | self.choosers["reference"].tell_crop()
            note, count = self.renderer.faces.note(self.state.face), len(self.edits)
            told = [note] if note else []
            told.append(f"{count} {'edit' if count == 1 else 'edits'} of the mask")
            told.append(f"{self.renderer.faces.size} pixels, {1000 * self.frame_seconds:.0f} ms a frame")
            self._say(" · ".join(told))
        if self.page.opened and self.last_error is None:
            self._later(self._keep_still, 1.0)

    def _still(self) -> np.ndarray:
        return still(self.renderer, self.state)
