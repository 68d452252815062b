"""Figures drawn from arrays."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from swaplib.faces import CELEBAMASK_HQ, LABEL_COLOURS, LANDMARK_GROUPS, Faces, to_uint8
from swaplib.training.settings import HELD_OUT

# ---------------------------------------------------------------------------------------------- style

STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 140,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.prop_cycle": plt.cycler(color=["#2f5d8a", "#d1693b", "#4b8b5f", "#8a5a99", "#b8963e", "#5b6670"]),
    "legend.frameon": False,
    "image.interpolation": "antialiased",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
GAP = 0.03
"""Inches between pictures."""
INK, MUTED, SOURCE, TARGET = "#22272e", "#6b737c", "#2f5d8a", "#d1693b"


def style(jpeg: bool = True) -> None:
    """Use the workbook's look in this process; in a notebook, previews become JPEG, which keeps the file small."""
    matplotlib.rcParams.update(STYLE)
    if jpeg and "inline" in matplotlib.get_backend():
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("jpeg", pil_kwargs={"quality": 70}, bbox_inches="tight", facecolor="white")


# ---------------------------------------------------------------------------------------------- drawing


def as_picture(value: Any) -> np.ndarray:
    """Convert any form of one picture to what `imshow` takes: uint8 RGB (H, W, 3), or grey (H, W) in [0, 1]."""
    if isinstance(value, Faces):
        value = value.images
    if isinstance(value, torch.Tensor):
        value = value[0] if value.ndim == 4 and len(value) == 1 else value
        value = to_uint8(value) if value.ndim == 3 and value.shape[0] == 3 else value.detach().cpu().numpy()
    array = np.asarray(value)
    if array.ndim == 2:
        return array.astype(float)
    if array.ndim == 3 and array.shape[-1] == 3 and array.dtype == np.uint8:
        return array
    raise ValueError(
        f"can't show an array of shape {array.shape} and type {array.dtype}: give images (3, H, W) in [-1, 1], "
        "uint8 RGB (H, W, 3), or a mask (H, W) in [0, 1]"
    )


def _pictures(batch: Any) -> list[np.ndarray]:
    """Convert a batch of pictures, in any form that `as_picture` takes, to a list of arrays."""
    if isinstance(batch, Faces):
        batch = batch.images
    if isinstance(batch, (torch.Tensor, np.ndarray)) and batch.ndim < 3:
        batch = batch[None]
    return [as_picture(value) for value in batch]


def _show(ax: Axes, picture: np.ndarray) -> None:
    """Show one picture without axes; a mask in grey, on a fixed scale."""
    limits = {"cmap": "gray", "vmin": 0, "vmax": 1} if picture.ndim == 2 else {}
    ax.imshow(picture, **limits)
    ax.set(xticks=[], yticks=[], anchor="N")
    ax.spines[:].set(visible=picture.ndim == 2, color="#c8c8c8", linewidth=0.6)  # a white mask needs an edge


def grid(
    images: Any,
    rows: int | Sequence[str] | None = None,
    cols: int | Sequence[str] | None = None,
    size: float = 1.25,
    title: str | None = None,
    as_rows: bool = False,
    titles: Sequence[str] | None = None,
) -> Figure:
    """Draw pictures in rows and columns, with titles.

    images: Faces, a batch (B, 3, H, W), or a list of pictures, filled in row by row; or a dict {title: batch}, one
        batch for each column, or for each row with `as_rows`.
    rows, cols: how many, or their titles. size: width of one picture in inches, of 100 pixels on a screen. titles: one
        for each picture instead.
    Raises ValueError where the numbers of pictures and titles don't match.
    """
    if isinstance(images, Mapping):
        batches = [_pictures(batch) for batch in images.values()]
        if len({len(batch) for batch in batches}) > 1:
            counts = ", ".join(f"{name}: {len(batch)}" for name, batch in zip(images, batches, strict=True))
            raise ValueError(f"every title needs equally many pictures, got {counts}")
        rows, cols = (list(images), cols) if as_rows else (rows, list(images))
        pictures = [picture for batch in (batches if as_rows else zip(*batches, strict=True)) for picture in batch]
    else:
        pictures = _pictures(images)
    down, across = _layout(len(pictures), rows, cols)
    heights = [pictures[r * across].shape[0] / pictures[r * across].shape[1] for r in range(down)]
    figure, axes = _frames(heights, across, size, 0.05 + 0.15 * _lines(titles) if titles else GAP)
    for ax, picture in zip(axes.flat, pictures, strict=False):
        _show(ax, picture)
    for ax in axes.flat[len(pictures) :]:
        ax.set_axis_off()
    for ax, text in zip(axes[0], [] if cols is None or isinstance(cols, int) else cols, strict=False):
        ax.set_title(_wrap(text, size), color=INK)
    labels = [] if rows is None or isinstance(rows, int) else rows
    for ax, text, height in zip(axes[:, 0], labels, heights, strict=False):
        ax.set_ylabel(_wrap(text, size * height), color=INK)
    for ax, text in zip(axes.flat, titles or [], strict=False):
        ax.set_title(text, color=INK, fontsize=8)
    if title:
        _head(figure, axes, title)
    return figure


def _frames(
    heights: Sequence[float], across: int, size: float, between: float = GAP
) -> tuple[Figure, np.ndarray[Any, Any]]:
    """Return a figure and its axes (rows, columns), each `size` inches wide and `size` times its row's height high.

    between: inches from row to row. Titles and labels stand outside of it: figures are saved with all that they show.
    """
    width, height = across * size + (across - 1) * GAP, size * sum(heights) + between * (len(heights) - 1)
    figure, axes = plt.subplots(
        len(heights), across, squeeze=False, figsize=(width, height), layout="none",
        gridspec_kw={
            "height_ratios": heights, "left": 0, "right": 1, "bottom": 0, "top": 1, "wspace": GAP / size,
            "hspace": between / (size * np.mean(heights)),
        },
    )  # fmt: skip
    return figure, axes


def _wrap(text: str, inches: float) -> str:
    """Break a title's lines so that it is about as long as its picture."""
    width = max(8, int(14.5 * inches))  # letters
    return "\n".join(textwrap.fill(line, width, break_long_words=False) for line in text.split("\n"))


def _head(figure: Figure, axes: np.ndarray[Any, Any], title: str) -> None:
    """Write a title above all pictures and their titles."""
    below = _lines([ax.get_title() for ax in axes[0]]) if any(ax.get_title() for ax in axes[0]) else 0
    figure.suptitle(title, fontsize=10, color=INK, y=1 + (0.08 + 0.16 * below) / figure.get_figheight(), va="bottom")


def _lines(texts: Sequence[str]) -> int:
    """Return how many lines the longest of some texts has."""
    return max(text.count("\n") + 1 for text in texts)


def _layout(count: int, rows: int | Sequence[str] | None, cols: int | Sequence[str] | None) -> tuple[int, int]:
    """Return the numbers of rows and columns for `count` pictures."""
    if count == 0:
        raise ValueError("no pictures to show: the batch is empty")
    down = rows if isinstance(rows, int) or rows is None else len(rows)
    across = cols if isinstance(cols, int) or cols is None else len(cols)
    if across is None:
        across = -(-count // down) if down else min(count, 8)
    if down is None:
        down = -(-count // across)
    if not (down - 1) * across < count <= down * across:
        raise ValueError(f"{count} pictures don't fit {down} rows of {across}: give as many titles as pictures need")
    return down, across


def swap_grid(sources: Any, targets: Any, swaps: Any, size: float = 1.15, title: str | None = None) -> Figure:
    """Draw every source put into every target: sources on top, targets on the left, swaps between.

    sources: (S, 3, H, W); targets: (T, 3, H, W); swaps: (T, S, 3, H, W). Raises ValueError for other shapes.
    """
    sources, targets = _pictures(sources), _pictures(targets)
    swaps = [_pictures(row) for row in swaps]
    if len(swaps) != len(targets) or any(len(row) != len(sources) for row in swaps):
        raise ValueError(f"{len(sources)} sources and {len(targets)} targets need swaps (T, S, 3, H, W), target first")
    down, across = len(targets) + 1, len(sources) + 1
    figure, axes = _frames([1.0] * down, across, size, 2 * GAP)
    cells = [[None, *sources]] + [[target, *row] for target, row in zip(targets, swaps, strict=True)]
    for ax, picture in zip(axes.flat, [picture for row in cells for picture in row], strict=True):
        ax.set_axis_off() if picture is None else _show(ax, picture)
    for group, colour in ((axes[0, 1:], SOURCE), (axes[1:, 0], TARGET)):
        for ax in group:
            ax.spines[:].set(visible=True, color=colour, linewidth=1.8)
    corner = {"transform": axes[0, 0].transAxes, "ha": "center", "va": "center", "fontsize": 9}
    axes[0, 0].text(0.52, 0.66, "source →\nwho it is", color=SOURCE, **corner)
    axes[0, 0].text(0.46, 0.22, "target ↓\nthe shot", color=TARGET, **corner)
    if title:
        _head(figure, axes, title)
    return figure


def sheet(pictures: Sequence[Any], titles: Sequence[str], columns: int = 3, size: float = 3.0) -> Figure:
    """Show pictures of any shape, uint8 RGB, each below its own title; `size` is a column's width in inches."""
    down = -(-len(pictures) // columns)
    figure, axes = plt.subplots(down, columns, squeeze=False, figsize=(size * columns, 0.62 * size * down))
    for ax in axes.flat:
        ax.set_axis_off()
        ax.set_anchor("N")
    for ax, picture, title in zip(axes.flat, pictures, titles, strict=False):
        ax.imshow(as_picture(picture))
        ax.set_title(title, fontsize=min(8, 3.2 * size), color=INK)
    return figure


def heat_map(
    values: pd.DataFrame,
    errors: pd.DataFrame | None = None,
    title: str | None = None,
    unit: str = "",
    cell: float = 1.0,
) -> Figure:
    """Draw a table as a map of colours, with its numbers: rows down, columns across, named by index and columns.

    errors: of the numbers, in a table of the same shape. unit: of the numbers, beside the colour bar; it starts at 0.
    cell: width of a column in inches; numbers are written from half an inch up. Raises ValueError for an empty table
    and for errors of another shape.
    """
    if values.empty:
        raise ValueError("no numbers to show: the table is empty")
    if errors is not None and errors.shape != values.shape:
        raise ValueError(f"errors {errors.shape} for numbers {values.shape}: give one for each")
    numbers, (down, across) = values.to_numpy(float), values.shape
    top = np.nanmax(numbers, initial=1e-12)
    figure, ax = plt.subplots(figsize=(1.9 + cell * across, max(2.2, 1 + 0.32 * down)), layout="constrained")
    mesh = ax.pcolormesh(np.ma.masked_invalid(numbers), cmap="Blues", vmin=0, vmax=top, edgecolors="white", linewidth=1)
    size = 8 if errors is None else min(8, 9.5 * cell)  # points at which a number with its error fits into a column
    for (row, column), number in np.ndenumerate(numbers if cell >= 0.5 else numbers[:0]):
        text = "–" if np.isnan(number) else f"{number:.2f}"
        if errors is not None and np.isfinite(errors.iloc[row, column]):
            text += f"±{errors.iloc[row, column]:.2f}"
        colour = "white" if number > 0.6 * top else INK
        ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=size, color=colour)
    labelled = np.arange(0, across, max(1, round(0.4 / cell)))
    wide = max(6, min(12, round(13 * cell)))  # letters that fit above a column
    ax.set_xticks(
        labelled + 0.5, [textwrap.fill(str(values.columns[k]), wide, break_long_words=False) for k in labelled]
    )
    ax.set_yticks(np.arange(down) + 0.5, [str(name) for name in values.index])
    ax.set(xlabel=values.columns.name or "", ylabel=values.index.name or "")
    ax.tick_params(length=0, labelcolor=INK)
    ax.spines[:].set_visible(False)
    ax.invert_yaxis()
    figure.colorbar(mesh, ax=ax, label=textwrap.fill(unit, 24)).outline.set_visible(False)
    if title:
        ax.set_title(title, color=INK)
    return figure


def draw_training(log: pd.DataFrame, panels: Mapping[str, str]) -> Figure:
    """Draw columns of a training's log over the pictures seen, each with its running mean, in a colour for each stage.

    panels: column -> its unit; columns that the log lacks are left out. Where the log has the same of faces which the
    run didn't learn from, they are drawn, too. Raises ValueError where nothing is left.
    """
    panels = {column: unit for column, unit in panels.items() if column in log and log[column].notna().any()}
    if not panels:
        raise ValueError(f"the log has none of the columns to draw; it has {', '.join(log.columns)}")
    log = log if "run" in log else log.assign(run=1)
    colours = {stage: f"C{k % 6}" for k, stage in enumerate(log["stage"].unique())}
    figure, axes = plt.subplots(1, len(panels), figsize=(min(2.9 * len(panels), 9), 2.9), squeeze=False)
    for ax, (column, unit) in zip(axes[0], panels.items(), strict=True):
        for (_, stage), rows in log.dropna(subset=column).groupby(["run", "stage"], sort=False):
            seen, width = rows["images"] / 1000, max(1, len(rows) // 12)
            ax.plot(seen, rows[column], ".", markersize=3, alpha=0.35, color=colours[stage], markeredgewidth=0)
            means = rows[column].rolling(width, min_periods=1, center=True).mean()
            ax.plot(seen, means, color=colours[stage], linewidth=1.3, label=stage)
        if (held_out := column + HELD_OUT) in log:
            rows = log.dropna(subset=held_out)
            ax.plot(
                rows["images"] / 1000, rows[held_out], "x-", color=INK, markersize=3, linewidth=0.8, label="held out"
            )
        ax.set(xlabel="images seen, thousands", ylabel=unit, title=column.split("/")[-1].replace("_", " "))
    handles = {label: one for ax in axes[0] for one, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=len(handles))
    return figure


def colour_labels(labels: torch.Tensor | np.ndarray) -> np.ndarray:
    """Turn label maps (..., H, W) in CelebAMask-HQ's order into uint8 colours (..., H, W, 3)."""
    labels = torch.as_tensor(labels).cpu().numpy()
    if labels.size and labels.max() >= len(LABEL_COLOURS):
        raise ValueError(
            f"labels hold the value {labels.max()}, but there are {len(LABEL_COLOURS)} classes: translate them to "
            "CelebAMask-HQ's order with swaplib.faces.relabel first"
        )
    return LABEL_COLOURS[labels]


def label_legend(figure: Figure, labels: torch.Tensor | np.ndarray, columns: int = 1) -> None:
    """Add a legend of the classes that occur in `labels`, to the right of the pictures."""
    present = np.unique(np.asarray(labels))
    handles = [plt.Rectangle((0, 0), 1, 1, facecolor=LABEL_COLOURS[k] / 255, edgecolor="#bbb") for k in present]
    names = [CELEBAMASK_HQ[k].replace("_", " ") for k in present]
    place = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "ncols": columns}
    figure.legend(handles, names, **place, fontsize=8, handlelength=1, handleheight=1)


def dim(faces: Faces | torch.Tensor, mask: torch.Tensor, strength: float = 0.7) -> torch.Tensor:
    """Darken images (B, 3, H, W) outside a mask (B, H, W), to show what it keeps with its surroundings."""
    images = faces.images if isinstance(faces, Faces) else faces
    return torch.where(mask[:, None].bool(), images, (images + 1) * (1 - strength) - 1)


_CURVES = (
    range(0, 17), range(17, 22), range(22, 27), range(27, 31), range(31, 36),
    (*range(36, 42), 36), (*range(42, 48), 42), (*range(48, 60), 48), (*range(60, 68), 60),
)  # fmt: skip
_GROUP_COLOURS = {"jaw": "#ffffff", "brows": "#ffd23f", "nose": "#7ce577", "eyes": "#5cc8ff", "mouth": "#ff7b89"}


def draw_landmarks(ax: Axes, landmarks: torch.Tensor | np.ndarray, size: float = 3, lines: bool = True) -> None:
    """Draw 68 landmarks (68, 2), in pixels of the picture that `ax` shows, coloured by group."""
    points = np.asarray(landmarks, dtype=float)
    if points.shape != (68, 2):
        raise ValueError(f"landmarks must be (68, 2) for one face, got {points.shape}")
    if lines:
        for curve in _CURVES:
            ax.plot(*points[list(curve)].T, color="#101418", linewidth=size * 0.55, alpha=0.55)
            ax.plot(*points[list(curve)].T, color="white", linewidth=size * 0.2, alpha=0.9)
    for name, group in LANDMARK_GROUPS.items():
        ax.scatter(*points[group].T, s=size**2 * 0.6, color=_GROUP_COLOURS[name], edgecolors="#101418", linewidths=0.3)
