"""The controls that say where a face comes from."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import ipywidgets as widgets

from swaplib import synthetic
from swaplib.studio.controls import labelled, make_box, make_image, wide
from swaplib.studio.renderer import KINDS, THUMBNAIL, Crop, Pick, jpeg
from swaplib.studio.turns import in_turn


class Chooser:
    """Choose a rendered face or a photograph, and which of its faces; a photograph is shown with what was taken of it.

    role: whose face it is. changed(pick) is called with the choice, received(name, content) with an uploaded file.
    A picture that is dropped or pasted here comes the same way (page.js).
    """

    def __init__(self, role: str, pick: Pick, files: Sequence[str], changed: Callable, received: Callable, rng):
        self.role, self.pick, self.received = role, pick, received
        self._changed, self._writing = in_turn(changed), False
        self._crop: Crop | None = None
        self.kind = widgets.Dropdown(options=[(text, kind) for kind, text in KINDS.items()], **labelled("from"))
        whole = {"min": 0, "max": 10**9, "continuous_update": False}
        self.number = widgets.BoundedIntText(**whole, **labelled("number"))
        self.seed = widgets.BoundedIntText(**whole, **labelled("seed"))
        self.world = widgets.Dropdown(options=list(synthetic.WORLDS), **labelled("world"))
        self.path = widgets.Combobox(
            options=files, placeholder="a picture file", continuous_update=False, **labelled("path")
        )
        self.file = widgets.FileUpload(accept="image/*", description=f"upload a {role}", layout=wide())
        self.hint = widgets.HTML("or drop a picture here, or paste one")
        self.hint.add_class("swaplib-hint")
        self.photograph = make_image(f"{role} photograph", THUMBNAIL, THUMBNAIL)
        self.photograph.add_class("swaplib-photograph")
        self.named = widgets.HTML()
        self.named.add_class("swaplib-caption")
        self.face = widgets.Dropdown(**labelled("face"))
        heading = widgets.HTML(f"<b>{role}</b>")
        self.random = widgets.Button(description="random", tooltip=f"random {role}: a rendered face drawn at random")
        self.reset = widgets.Button(description="reset", tooltip=f"reset {role}: as it was at first")
        for button in (self.random, self.reset):
            button.layout.width = "auto"
        for control in (self.kind, self.number, self.seed, self.world, self.path):
            control.observe(self._read, "value")
        self.face.observe(self._choose, "value")
        self.file.observe(self._take, "value")
        self.random.on_click(lambda _: self._changed(Pick("rendered", 0, rng.randrange(10**6), self.world.value)))
        self.reset.on_click(lambda _, first=pick: self._changed(first))
        self._rows = {
            "rendered": (self.number, self.seed, self.world), "file": (self.path,), "upload": (self.file, self.hint)
        }  # fmt: skip
        rows = [self.kind, *(row for rows in self._rows.values() for row in rows)]
        buttons = widgets.HBox([self.random, self.reset])
        self.box = make_box(f"for-{role}", heading, *rows, self.named, self.photograph, self.face, buttons)
        self.box.layout = widgets.Layout(flex="1 1 14em", min_width="0", max_width="26em")
        self.show(pick, force=True)

    def show(self, pick: Pick, force: bool = False) -> None:
        """Write a pick into the controls; one already shown leaves an unfinished choice alone."""
        if pick == self.pick and not force:
            return
        self.pick, self._writing = pick, True
        try:
            self.kind.value = pick.kind
            if pick.rendered:
                self.number.value, self.seed.value, self.world.value = pick.number, pick.seed, pick.world
            if pick.kind == "file":
                self.path.value = pick.path
        finally:
            self._writing = False
        self._reveal()

    def show_crop(self, crop: Crop | None) -> None:
        """Show where in its photograph the picked face was taken, and which faces there are; None for no photograph."""
        if crop is not self._crop and crop is not None:
            self._writing = True
            try:
                names = ["0, the largest", *map(str, range(1, crop.faces))]
                self.face.options = [(name, k) for k, name in enumerate(names)]
                self.face.value = self.pick.face
            finally:
                self._writing = False
            self.photograph.value = jpeg(crop.picture)
            self.photograph.height, self.photograph.width = map(str, crop.picture.shape[:2])
            height, width = crop.shape
            self.named.value = f"{html.escape(Path(self.pick.path).name)}, {width} × {height} pixels"
        self._crop = crop
        self._reveal()

    def tell_crop(self) -> dict[str, str]:
        """Return what the photograph shows, for those who don't see it, by the picture's name; nothing without one."""
        if self._crop is None:
            return {}
        which = f"face {self.pick.face} of {self._crop.faces}" if self._crop.faces > 1 else "the face"
        told = f"{self.role}'s photograph {Path(self.pick.path).name}, with an outline around {which}"
        return {f"{self.role}-photograph": told}

    def _reveal(self) -> None:
        shown = [*self._rows[self.kind.value]]
        if self._crop is not None and self.kind.value == self.pick.kind:
            shown += [self.named, self.photograph, *([self.face] if self._crop.faces > 1 else [])]
        hidden = [self.named, self.photograph, self.face, *(row for rows in self._rows.values() for row in rows)]
        for row in hidden:
            row.layout.display = "" if row in shown else "none"

    @in_turn
    def _read(self, change: Mapping) -> None:
        """Read the controls after a move. A photograph without a name yet changes nothing."""
        self._reveal()
        if self._writing:
            return
        if self.kind.value == "rendered":
            self._changed(Pick("rendered", self.seed.value, self.number.value, self.world.value))
        elif self.kind.value == "file" and (path := self.path.value.strip()):
            again = self.pick.kind == "file" and path == self.pick.path
            self._changed(self.pick if again else Pick("file", path=path))

    @in_turn
    def _choose(self, change: Mapping) -> None:
        if not self._writing:
            self._changed(replace(self.pick, face=change["new"]))

    @in_turn
    def _take(self, change: Mapping) -> None:
        for upload in change["new"]:
            self.received(upload["name"], bytes(upload["content"]))
