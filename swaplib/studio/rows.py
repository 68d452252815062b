"""The rows of a family's sliders, each with its buttons, in groups that fold."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import ipywidgets as widgets

from swaplib.studio.bench import Bench
from swaplib.studio.controls import Fold, make_icon, make_row, words

FEW = 6
"""More edits than that are folded when a studio opens."""


def make_folds(
    bench: Bench, reset: Callable[..., None], randomize: Callable[[str], None], explain: Callable[[str], None]
) -> list[Fold]:
    """Make the rows of layers, parts and edits. The buttons call reset(*parts), randomize(part), explain(name)."""

    def ask(name: str) -> widgets.Button:
        return make_icon("?", f"what {words(name)} changes", partial(explain, name))

    groups, grouped = bench.renderer.groups, {part for parts in bench.renderer.groups.values() for part in parts}
    layers = [
        make_row(slider, make_icon("↺", f"reset {words(name)}", partial(reset, *groups[name])), ask(name))
        for name, slider in bench.groups.items()
    ]
    parts = []
    for name, slider in bench.sliders.items():
        row = [slider, make_icon("↺", f"reset {words(name)}", partial(reset, name))]
        if bench.renderer.generative:
            row.append(make_icon("⚄", f"a random {words(name)}", partial(randomize, name)))
        parts.append(make_row(*row, *([] if name in grouped else [ask(name)])))
    return [
        Fold("layers: 0 the target's, 1 the source's", layers),
        Fold("parts: 0 the target's, 1 the source's", parts, folded=bool(groups)),
        *_fold_edits(bench.edits),
    ]


def _fold_edits(edits: dict[str, widgets.FloatSlider]) -> list[Fold]:
    """Return the edits in a group for each part that their names begin with; open where they are few."""
    named = {name: name.split(": ")[0] if ": " in name else "" for name in edits}
    return [
        Fold(f"edits of {words(part)}" if part else "edits",
             [_edit_row(name, edits[name]) for name in named if named[name] == part], folded=len(edits) > FEW)
        for part in dict.fromkeys(named.values())
    ]  # fmt: skip


def _edit_row(name: str, slider: widgets.FloatSlider) -> widgets.HBox:
    slider.description = words(name.split(": ")[-1])
    return make_row(slider, make_icon("↺", f"reset {words(name)}", lambda: setattr(slider, "value", 0.0)))
