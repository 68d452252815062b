"""Figures: drawn, and saved with the story of how they came about.

Drawing       grid, swap_grid, sheet, heat_map, colour_labels, label_legend, draw_landmarks
Saving        save (figures), save_table (data frames), save_picture (single pictures)
The gallery   manifest.json holds one entry for each figure; `write_gallery` makes README.md of it
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
    grid,
    heat_map,
    label_legend,
    sheet,
    style,
    swap_grid,
)
from swaplib.figures.gallery import index, write_gallery
from swaplib.figures.saving import folder, manifest, markdown_table, save, save_picture, save_table

__all__ = (
    "INK", "MUTED", "SOURCE", "STYLE", "TARGET", "colour_labels", "dim", "draw_landmarks", "folder", "grid",
    "heat_map", "index", "label_legend", "manifest", "markdown_table", "save", "save_picture", "save_table", "sheet",
    "style", "swap_grid", "write_gallery",
)  # fmt: skip
