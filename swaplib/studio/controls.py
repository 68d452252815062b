"""Shared by the studio's apps: narrow controls, and an app that saves its state and says what went wrong."""

from __future__ import annotations

import asyncio
import base64
import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import ipywidgets as widgets
import numpy as np
import traitlets
from IPython.display import display

from swaplib import figures
from swaplib.provenance import replacing
from swaplib.studio.renderer import KINDS, UPLOADED_BYTES, Pick, jpeg, read_saved, refuse_large, resized
from swaplib.studio.screen import read_shipped
from swaplib.studio.turns import TURN, in_turn

_STILL = """<div class="swaplib-still swaplib-still-{key}"><style>
.jp-OutputArea-child:has(.swaplib-still) + .jp-OutputArea-child > .jupyter-widgets:not(:has(*)) {{display: none}}
</style><img alt="synthetic picture: {alt}" src="data:image/jpeg;base64,{picture}"></div>"""


class Page(anywidget.AnyWidget):
    """The look of an app, and what its widgets lack: names, and pictures dropped or pasted; unseen in the app's box.

    told: name of a picture -> its alt text. key: names the app's still picture, which is hidden while this is shown.
    most: bytes of a picture that is sent. received(role, name, size, content) is called with one; the content is empty
    where it is larger. opened: whether a browser has shown the app.
    """

    _esm = read_shipped("page.js")
    _css = read_shipped("studio.css")
    told = traitlets.Dict().tag(sync=True)
    key = traitlets.Unicode().tag(sync=True)
    most = traitlets.Int(UPLOADED_BYTES).tag(sync=True)

    def __init__(self, received: Callable[[str, str, int, bytes], None]):
        super().__init__(layout=widgets.Layout(display="none"))
        self.key, self.opened, self.received = self.model_id, False, received
        self.on_msg(self._received)

    def _received(self, page: Page, content: Mapping[str, Any], buffers: Sequence[bytes]) -> None:
        if content.get("do") == "begin":
            self.opened = True
        elif content.get("do") == "take":
            self.received(content["role"], content["name"], content["size"], b"".join(buffers))


class Fold:
    """A group of controls under a heading that opens and closes it. Show its `box`."""

    def __init__(self, name: str, rows: Sequence[widgets.Widget], folded: bool = False):
        self.name, self.rows = name, widgets.VBox(list(rows))
        self.head = make_button("", f"open or close {name}", lambda: self.fold(not self.folded))
        self.head.add_class("swaplib-fold")
        self.box = widgets.VBox([self.head, self.rows])
        self.fold(folded)

    def fold(self, folded: bool) -> None:
        """Close or open it."""
        self.folded = folded
        self.head.description = f"{'▸' if folded else '▾'} {self.name}"
        self.rows.layout.display = "none" if folded else ""
        (self.head.add_class if folded else self.head.remove_class)("swaplib-folded")


class App:
    """An app over a family: a box of controls that only write its state, and pictures that follow.

    Subclasses have `family`, `state`, `box`, `images` and `choosers`, and define State (`to_json` and `from_json`),
    `_try(state)`, which takes over a state that can be drawn, and `_still()`, what a run without a browser shows.
    folder: where pictures and states are saved; None: build/studio. name: their initial name.
    last_error holds the exception of the last failed action, which the status line puts in words; None after one
    that worked.
    """

    State: ClassVar[type]
    images: dict[str, widgets.Image]
    choosers: dict[str, Any]

    def __init__(self, folder: str | Path | None, name: str):
        self._folder, self._timer, self._due, self._display = folder, None, None, None
        self.last_error: Exception | None = None
        self.page, self.status = Page(self._take), widgets.HTML()
        self.status.add_class("swaplib-status")
        self.name = widgets.Text(name, description="name", style=STYLE, layout=wide())
        self.saved = widgets.Dropdown(description="saved", style=STYLE, layout=wide())

    # Saving.

    @property
    def folder(self) -> Path:
        return Path(self._folder) if self._folder else figures.folder().parent / "studio"

    def save_state(self, name: str = "state") -> Path:
        """Save the state as JSON."""
        path = free(self.folder, name, ".json")
        with replacing(path) as temporary:
            temporary.write_text(self.state.to_json() + "\n", encoding="utf-8")
        return path

    def restore(self, path: str | Path) -> None:
        """Take over a saved state.

        Raises ValueError for a file that holds none or one that this family can't show, and FileNotFoundError.
        """
        self._try(read_saved(path, self.State))

    def _files(self) -> list[widgets.Widget]:
        """Return the controls that save and restore."""
        return [
            self.name,
            make_button("save picture", "as PNG, marked as synthetic", partial(self._save, self.save_picture)),
            make_button("save state", "as JSON", partial(self._save, self.save_state)),
            self.saved,
            make_button("restore", "the saved state", self._restore),
        ]

    def _save(self, save: Callable[[str], Path]) -> None:
        with self._guarded():
            path = save(self.name.value)
            self._list_saved(path.stem)
            self._say(f"saved as {path}")

    def _list_saved(self, chosen: str | None = None) -> None:
        names = sorted(path.stem for path in self.folder.glob("*.json"))
        self.saved.options = names
        if chosen in names:
            self.saved.value = chosen

    def _restore(self) -> None:
        with self._guarded():
            if self.saved.value is None:
                raise ValueError(f"no saved state in {self.folder}: save one first")
            self.restore(self.folder / f"{self.saved.value}.json")

    def _take(self, role: str, name: str, size: int, content: bytes) -> None:
        """Take a picture file that was dropped on a face or pasted."""
        with self._guarded():
            refuse_large(name, size)
            self.choosers[role].received(name, content)

    # Drawing.

    def _show(self, name: str, picture: np.ndarray | None) -> None:
        self.images[name].layout.visibility = "hidden" if picture is None else "visible"
        if picture is not None:
            self.images[name].value = jpeg(resized(picture, int(self.images[name].width)))

    def _later(self, action: Callable[[], None], delay: float = 0.25) -> None:
        """Run an action when nothing has moved for a while; at once where no event loop runs.

        The last one that was asked for replaces those before, even one that another thread's loop has begun to call.
        """
        due = object()

        def act() -> None:
            with TURN:
                if self._due is due:
                    action()

        with TURN:
            if self._timer is not None:
                self._timer.cancel()
            self._due = due
            try:
                self._timer = asyncio.get_running_loop().call_later(delay, act)
            except RuntimeError:
                act()

    # Errors: a callback's exception would end up in the browser's log, so everything goes through here.

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with TURN:
            self.last_error = None
            try:
                yield
            except Exception as error:
                self._report(error)

    def _report(self, error: Exception) -> None:
        self.last_error = error
        self._say(str(error) or type(error).__name__, wrong=True)

    def _say(self, text: str, wrong: bool = False) -> None:
        kind = "swaplib-wrong" if wrong else "swaplib-told"
        self.status.value = f'<span class="{kind}">{html.escape(text, quote=False)}</span>'

    # Two outputs: a still picture, which the page hides while it shows the controls, and the controls. So a notebook
    # that was saved and is read without this kernel shows how the app was left.

    def _ipython_display_(self) -> None:
        """Show the controls where there is a kernel, and a still picture to readers without one."""
        self._display = display(self._still_bundle(), raw=True, display_id=True)
        view = self.box._repr_mimebundle_()
        display({kind: view[kind] for kind in view if kind != "text/plain"}, raw=True)

    def _keep_still(self) -> None:
        """Replace the still picture by one of the present state, where a browser shows the app."""
        if self._display is not None and self.page.opened:
            self._display.update(self._still_bundle(), raw=True)

    def _still_bundle(self) -> dict[str, str]:
        bundle, failed = {"text/plain": f"{type(self).__name__}({self.family.name})"}, self.last_error
        with self._guarded():
            picture = base64.b64encode(jpeg(self._still())).decode()
            alt = html.escape(f"{type(self).__name__} of {self.family.name}, as it was left")
            bundle["image/jpeg"] = picture
            bundle["text/html"] = _STILL.format(key=self.page.key, alt=alt, picture=picture)
            self.last_error = failed
        return bundle


# ---------------------------------------------------------------------------------------------- widgets

STYLE = {"description_width": "4em"}


def wide() -> widgets.Layout:
    """Return the size of a control that fills its line, up to what names and paths need."""
    return widgets.Layout(width="auto", max_width="26em")


def words(name: str) -> str:
    return name.replace("_", " ")


def describe(pick: Pick) -> str:
    """Return what a picked face is, in words."""
    if pick.rendered:
        return f"rendered face {pick.number} of series {pick.seed}, world {pick.world}"
    return f"{KINDS[pick.kind]} {Path(pick.path).name}{f', face {pick.face}' if pick.face else ''}"


def labelled(text: str) -> dict[str, Any]:
    """Return label and sizes of a control; each needs its own layout, since it may be hidden."""
    return {"description": text, "layout": wide(), "style": STYLE}


def make_slider(name: str, low: float, high: float) -> widgets.FloatSlider:
    return widgets.FloatSlider(
        value=low if low == 0 else 0.0, min=low, max=high, step=0.01, description=words(name), tooltip=words(name),
        style={"description_width": "6.6em"},
    )  # fmt: skip


def make_row(*controls: widgets.Widget) -> widgets.HBox:
    """Put a slider and its buttons on one line, which the slider fills."""
    row = widgets.HBox(controls)
    row.add_class("swaplib-row")
    return row


def make_box(name: str, *inside: widgets.Widget, across: bool = False) -> widgets.Box:
    """Make a box that studio.css knows by its name."""
    box = (widgets.HBox if across else widgets.VBox)(inside)
    box.add_class(f"swaplib-{name}")
    return box


def make_image(name: str, width: int, height: int) -> widgets.Image:
    """Make a picture of that many pixels; on the screen it is as wide as what it stands in."""
    image = widgets.Image(format="jpeg", width=width, height=height)
    image.add_class(f"swaplib-{name.replace(' ', '-')}")
    return image


def make_button(text: str, tooltip: str, action: Callable[[], None]) -> widgets.Button:
    button = widgets.Button(description=text, tooltip=tooltip, layout=widgets.Layout(width="auto"))
    button.on_click(in_turn(lambda _: action()))
    return button


def make_icon(text: str, tooltip: str, action: Callable[[], None]) -> widgets.Button:
    """Make a button of one character; its tooltip is also its name."""
    button = make_button(text, tooltip, action)
    button.layout.width = None
    button.add_class("swaplib-icon")
    return button


def free(folder: Path, name: str, ending: str) -> Path:
    """Return a path in the folder that no file has yet: name, name-2, name-3 and so on."""
    stem = Path(name).name.removesuffix(ending).strip() or "studio"
    names = (stem, *(f"{stem}-{k}" for k in range(2, 10_000)))
    return next(path for path in (folder / f"{one}{ending}" for one in names) if not path.exists())
