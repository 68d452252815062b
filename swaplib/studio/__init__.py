"""The studio: sliders over the latent parts of any family, and a brush for masks.

It has two separate halves. `Renderer.render(state)` is pure: a state goes in, a picture comes out, and encodings are
cached. `Studio` is a box of ipywidgets controls that only write the state and show what the renderer returns. A family
is used through its contract alone: parts, encode, mix, decode, and sample where it is generative.

>>> app = studio.Studio(families.load("landmarks"))
>>> app  # in a notebook: the controls; where no kernel runs, a still picture
>>> app.renderer.render(app.state)  # without any widget

`strip` draws a slider's frames ahead of time: it moves in a page that no kernel stands behind.

`Painter` does for a mask what `Studio` does for amounts: edits of `studio.masks`, by mouse or by method, for a family
that keeps a label map among its parts; `PaintRenderer.render(painting)` is its pure half.
"""

from __future__ import annotations

from swaplib.studio.app import Studio
from swaplib.studio.pace import SMOOTH
from swaplib.studio.painted import Painting, PaintRenderer, Reference, texture_part
from swaplib.studio.painter import Painter
from swaplib.studio.renderer import KINDS, Pick, Renderer, Slider, State, plain_swap, still
from swaplib.studio.strip import Strip, strip

__all__ = [
    "KINDS",
    "SMOOTH",
    "PaintRenderer",
    "Painter",
    "Painting",
    "Pick",
    "Reference",
    "Renderer",
    "Slider",
    "State",
    "Strip",
    "Studio",
    "plain_swap",
    "still",
    "strip",
    "texture_part",
]
