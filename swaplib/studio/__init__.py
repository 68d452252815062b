"""The studio: sliders over the latent parts of any family.

Two halves, apart. `Renderer.render(state)` is pure: a state goes in, a picture comes out, and encodings are cached.
`Studio` is a box of ipywidgets controls that only write the state and show what the renderer returns. A family is
used through its contract alone: parts, encode, mix, decode, and sample where it is generative.

>>> app = studio.Studio(families.load("landmarks"))
>>> app  # in a notebook: the controls; where no kernel runs, a still picture
>>> app.renderer.render(app.state)  # without any widget
"""

from __future__ import annotations

from swaplib.studio.app import SMOOTH, Studio
from swaplib.studio.renderer import KINDS, Pick, Renderer, State, plain_swap, still

__all__ = ["KINDS", "SMOOTH", "Pick", "Renderer", "State", "Studio", "plain_swap", "still"]
