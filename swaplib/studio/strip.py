"""Sliders that move without a kernel: their frames lie in the page, for readers of HTML copies and of nbviewer.

`strip` draws the frames with the studio's own renderer; a `Strip` is the HTML around them. Its slider is the browser's,
moved by mouse, keyboard or touch, and the script that follows it is the studio's (frames.js). Where no script runs, as
on a code host, some of the frames stand side by side. Nothing is fetched from anywhere.
"""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import cv2
import numpy as np
from PIL import Image, features

from swaplib.families import Codes, Family
from swaplib.studio.controls import words
from swaplib.studio.renderer import ALONG, Renderer, Slider, State, plain_swap
from swaplib.studio.screen import read_shipped

MOST = 400
"""Kilobytes that a strip may take at most."""
_LADDER = [(1.0, quality) for quality in (90, 80, 70, 60, 50, 40)] + [(0.75, 40), (0.5, 40), (0.35, 40), (0.25, 40)]
_STYLE = """
.swaplib-strip{display:flex;flex-wrap:wrap;gap:8px 12px;align-items:flex-end;font:13px/1.4 system-ui,sans-serif}
.swaplib-strip figure{margin:0;text-align:center}
.swaplib-strip img{width:80px;max-width:100%;border-radius:3px}
.swaplib-strip img[data-live]{width:192px}
.swaplib-strip label,.swaplib-strip small{width:100%}
.swaplib-strip input{width:min(22em,50%);height:2.4em;vertical-align:middle;margin:0 8px}
.swaplib-strip output{font-variant-numeric:tabular-nums}
.swaplib-strip small{opacity:.7}
.swaplib-strip [hidden]{display:none}
"""


@dataclass(frozen=True)
class Strip:
    """Frames in a page, with a slider that moves through them. Show it as the last line of a cell.

    frames: caption -> uint8 RGB (S, S, 3), one for each of `values`, what the slider says there. label: the slider's.
    still: pictures beside them that don't move. start: where the slider stands at first; None: at its end.
    kilobytes: the most that the page grows by. Frames are saved at the best quality that fits (WebP, or JPEG where
    Pillow has none); if the worst doesn't, they get smaller. Raises ValueError if nothing fits, and for unequal rows.
    """

    frames: Mapping[str, Sequence[np.ndarray]]
    values: Sequence[str]
    label: str
    still: Mapping[str, np.ndarray] = field(default_factory=dict)
    start: int | None = None
    kilobytes: float = 60

    def __post_init__(self):
        if not self.frames or {len(row) for row in self.frames.values()} != {len(self.values)} or len(self.values) < 2:
            raise ValueError("a strip needs a row of frames for each caption, a frame for each value, and two values")
        if not 0 < self.kilobytes <= MOST:
            raise ValueError(f"a strip of {self.kilobytes} kB: give more than 0 and at most {MOST}")

    def __repr__(self) -> str:
        return f"Strip({', '.join(self.frames)}: {len(self.values)} frames, {len(self.html.encode()) / 1000:.0f} kB)"

    def _repr_html_(self) -> str:
        return self.html

    @cached_property
    def html(self) -> str:
        """The strip as a piece of HTML that needs nothing else."""
        low, high = 0, len(_LADDER)  # the first step of the ladder that fits lies within
        while low < high:
            middle = (low + high) // 2
            fits = len(self._page(*_LADDER[middle]).encode()) <= 1000 * self.kilobytes
            low, high = (low, middle) if fits else (middle + 1, high)
        if low == len(_LADDER):
            count = len(self.frames) * len(self.values)
            raise ValueError(f"{count} frames don't fit into {self.kilobytes} kB: allow more, or ask for fewer steps")
        return self._page(*_LADDER[low])

    def _page(self, scale: float, quality: int) -> str:
        rows = [[_encode(frame, scale, quality) for frame in row] for row in self.frames.values()]
        last = len(self.values) - 1
        shown = {round(k * last / 4) for k in range(5)} if len(rows) == 1 else {0, (last + 1) // 2, last}
        others = [["" if at in shown else frame for at, frame in enumerate(row)] for row in rows]
        data = json.dumps({"values": list(self.values), "type": _TYPE, "frames": others}, separators=(",", ":"))
        data = data.replace("</", "<\\/")  # a script ends at its first closing tag
        figures = [
            _figure([_image(name, _TYPE + _encode(one, scale, quality))], name) for name, one in self.still.items()
        ]
        for name, row in zip(self.frames, rows, strict=True):
            stills = [_image(f"{name}, {self.values[at]}", _TYPE + row[at], f' data-at="{at}"') for at in sorted(shown)]
            live = f'<img alt="" data-live hidden data-name="{html.escape(_SYNTHETIC + name)}">'
            figures.append(_figure([live, *stills], name, ' class="moving"'))
        start = last if self.start is None else self.start
        slider = f'<input type="range" min="0" max="{last}" value="{start}"><output></output>'
        script = f'(()=>{{{read_script()}document.querySelectorAll(".swaplib-strip").forEach(play)}})()'
        return (
            f'<div class="swaplib-strip" data-lm-suppress-shortcuts="true"><style>{_STYLE}</style>'
            f"<label data-live hidden>{html.escape(self.label)} {slider}</label>{''.join(figures)}"
            "<small>Synthetic pictures, made with swaplib.</small>"
            f'<script type="application/json">{data}</script><script>{script}</script></div>'
        )


_TYPE = f"data:image/{'webp' if features.check('webp') else 'jpeg'};base64,"
_SYNTHETIC = "synthetic picture: "


def _encode(image: np.ndarray, scale: float, quality: int) -> str:
    """Return a picture as WebP or JPEG, in base 64."""
    edge = max(round(scale * len(image)), 16)
    if edge < len(image):
        image = cv2.resize(image, (edge, edge), interpolation=cv2.INTER_AREA)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, _TYPE[len("data:image/") : -len(";base64,")], quality=quality)
    return base64.b64encode(buffer.getvalue()).decode()


def _image(name: str, address: str, more: str = "") -> str:
    return f'<img alt="{html.escape(_SYNTHETIC + name)}" src="{address}"{more}>'


def _figure(images: Sequence[str], name: str, more: str = "") -> str:
    return f"<figure{more}>{''.join(images)}<figcaption>{html.escape(name)}</figcaption></figure>"


def read_script() -> str:
    """Return what strips and the studio share of frames.js, without comments and indentation."""
    text = read_shipped("frames.js").split("// ---")[0]
    return re.sub(r"^\s*(//.*)?\n?", "", text, flags=re.MULTILINE)


# ---------------------------------------------------------------------------------------------- of a family


def strip(
    family: Family | Sequence[Family],
    part: str | Sequence[str] | None = None,
    state: State | None = None,
    *,
    size: int | None = None,
    directions: Mapping[str, Codes] | None = None,
    reach: float = 3.0,
    steps: int = 11,
    kilobytes: float = 60,
) -> Strip:
    """Draw what a slider of the studio shows, ahead of time; a picture for each family and each part.

    part: what is moved, as in the studio: a part, a group of layers or a direction; several beside each other, which
    must be of one kind; None: a plain swap, all together. state: what else is in the picture, and of whom; None: the
    target's, of the first two rendered faces. size, directions: as in `Renderer`; reach: directions go from -reach to
    reach. steps: how many frames. kilobytes: as in `Strip`.
    Raises ValueError for a name that a family doesn't have, and as `Strip` does.
    """
    families = [family] if isinstance(family, Family) else list(family)
    names = [part] if part is None or isinstance(part, str) else list(part)
    renderers = [Renderer(one, size, directions) for one in families]
    sliders = [[ALONG if name is None else one.find(name) for name in names] for one in renderers]
    edits = {slider.kind == "strengths" for row in sliders for slider in row}
    if len(edits) != 1:
        raise ValueError("parts go from 0 to 1, directions to both sides: make one strip of parts, one of directions")
    values = np.linspace(-reach, reach, steps) if edits == {True} else np.linspace(0, 1, steps)
    state, frames = state or State(), {}
    for renderer, row in zip(renderers, sliders, strict=True):
        for slider in row:
            caption = _caption(renderer.family, slider, len(families) > 1)
            frames[caption] = _walk(renderer, state, slider, values)
    if edits == {True}:
        return Strip(frames, [f"{value:+.1f}" for value in values], "strength", {}, steps // 2, kilobytes)
    faces = {role: renderers[0].face(getattr(state, role)) for role in ("source", "target")}
    label = f"from the target to the {'swap' if part is None else 'source'}"
    return Strip(frames, [f"{value:.2f}" for value in values], label, faces, kilobytes=kilobytes)


def _walk(renderer: Renderer, state: State, slider: Slider, values: Sequence[float]) -> list[np.ndarray]:
    """Draw the frames of one slider; all together, where the state takes nothing, it moves a plain swap."""
    if slider == ALONG and not state.amounts:
        state = replace(state, amounts=plain_swap(renderer.family))
    return [renderer.render(renderer.move(state, slider, float(value))) for value in values]


def _caption(family: Family, slider: Slider, several: bool) -> str:
    name = [] if slider == ALONG else [words(slider.name)]
    return ": ".join([family.name] * (several or not name) + name)
