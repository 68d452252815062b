"""Figures: drawn, and saved with a record of how they were made.

Drawing       grid, swap_grid, sheet, heat_map, colour_labels, label_legend, draw_landmarks, draw_training
Saving        save (figures), save_table (data frames), save_picture (single pictures), into the run's `folder`
Reading       manifest, index, find, read_story: the run's own figures, otherwise the committed ones
The gallery   manifest.json holds one entry for each figure; `write_gallery` makes README.md from it
Refreshing    `refresh` updates what is committed, and only what changed
"""

from __future__ import annotations

from swaplib.figures.drawing import (
    INK,
    MUTED,
    SOURCE,
    STYLE,
    TARGET,
    colour_labels,
    dim,
    draw_landmarks,
    draw_training,
    grid,
    heat_map,
    label_legend,
    sheet,
    style,
    swap_grid,
)
from swaplib.figures.gallery import index, write_gallery
from swaplib.figures.refreshing import refresh
from swaplib.figures.saving import (
    ENDINGS,
    committed,
    find,
    folder,
    layers,
    manifest,
    markdown_table,
    read_story,
    save,
    save_picture,
    save_table,
)

__all__ = (
    "ENDINGS", "INK", "MUTED", "SOURCE", "STYLE", "TARGET", "colour_labels", "committed", "dim", "draw_landmarks",
    "draw_training", "find", "folder", "grid", "heat_map", "index", "label_legend", "layers", "manifest",
    "markdown_table", "read_story", "refresh", "save", "save_picture", "save_table", "sheet", "style", "swap_grid",
    "write_gallery",
)  # fmt: skip
