"""The report of a benchmark as one HTML page: the table, differences to a chosen row, the best and the worst cases."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from swaplib import metrics
from swaplib.benchmark.folders import draw_again, find_swap, read_swap
from swaplib.faces import to_uint8
from swaplib.provenance import write_text

if TYPE_CHECKING:
    from swaplib.benchmark.scores import Report

SHOWN = (
    "given", "psnr_face", "ssim_face", "ms_ssim_face", "psnr_face_moved", "nearer_source", "top_1", "smooth_cosine",
    "shape_true", "expression", "pose", "gaze", "skin", "light", "sharpness", "detected",
)  # fmt: skip
"""Columns of the page's tables, where they have values; scores.csv has all."""
_CASES = 4  # best and worst pairs that are shown of each system
_EDGE = 112  # pixels of a picture on the page
_ORDER = "psnr_face"  # by which cases are good or bad
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:1250px;padding:0 1em}"
    "table{border-collapse:collapse;font-size:13px}th,td{padding:.25em .6em;text-align:right}"
    "th:first-child,td:first-child{text-align:left}tr:nth-child(even){background:#8881}"
    "div.wide{overflow-x:auto}figure{display:inline-block;margin:.4em .8em .4em 0}figcaption{font-size:12px}"
)


def write_page(report: Report, path: Path, against: str) -> Path:
    """Write the page; against: the row that differences are taken to."""
    listed = [
        metric for metric in metrics.METRICS if metric.name in SHOWN and report.summary[metric.name].notna().any()
    ]
    frechet = [report.summary[name].map(lambda value: f"{value:.3f}") for name in ("frechet", "kernel")]
    table = pd.DataFrame({_head(one): _means(report.summary, one.name) for one in listed})
    table["Fréchet ↓"], table["kernel ↓"] = frechet
    if "identity_spread" in report.summary:
        table["id. spread in clips ↓"] = report.summary["identity_spread"].map(lambda value: f"{value:.3f}")
    gaps = report.compare(against)
    wide = pd.DataFrame({_head(one): _gaps(gaps[gaps["metric"] == one.name]) for one in listed if one.name != "given"})
    parts = [
        f"<h1>{html.escape(report.card.series)}: {html.escape(report.card.set)}</h1>",
        f"<p>{html.escape(report.tell())}</p>",
        "<p>Means ± half the 95% confidence interval, bootstrap over pairs. Every picture here is synthetic.</p>",
        _table(table),
        f"<h2>Differences to “{html.escape(against)}”, pair by pair</h2>"
        "<p>Mean difference with its 95% interval; in brackets the share of pairs that are better.</p>",
        _table(wide),
        *(_cases(report, name) for name in report.folders),
        "<h2>What the columns are</h2>",
        "<ul>" + "".join(f"<li>{html.escape(f'{one.title}: {one.meaning}')}</li>" for one in listed) + "</ul>",
    ]
    text = (
        f"<!doctype html><meta charset=utf-8><title>{report.card.set}</title><style>{_STYLE}</style>{''.join(parts)}\n"
    )
    write_text(path, text)
    return path


def _head(metric: metrics.Metric) -> str:
    return f"{metric.title} {'↑' if metric.better == 'higher' else '↓'}"


def _means(summary: pd.DataFrame, name: str) -> pd.Series:
    half = (summary[f"{name}_high"] - summary[f"{name}_low"]) / 2
    return pd.Series({row: _number(summary[name][row], half[row]) for row in summary.index})


def _gaps(rows: pd.DataFrame) -> pd.Series:
    return pd.Series({
        row.system: f"{row.difference:+.3g} [{row.low:+.3g}, {row.high:+.3g}] ({row.better:.0%})"
        for row in rows.itertuples()
    })  # fmt: skip


def _number(mean: float, half: float) -> str:
    if not np.isfinite(mean):
        return "–" if np.isnan(mean) else "∞"
    return f"{mean:.3g}" + (f" ± {half:.2g}" if np.isfinite(half) else "")


def _table(frame: pd.DataFrame) -> str:
    return f"<div class=wide>{frame.fillna('–').to_html(border=0)}</div>"


def _cases(report: Report, name: str) -> str:
    """Show a system's best and worst pairs side by side: source, target, swap, true swap."""
    rows = report.scores[report.scores["system"] == name].reset_index(drop=True)
    order = rows[_ORDER].dropna().sort_values(ascending=False).index.tolist()
    if not order:
        return ""
    few = min(_CASES, len(order) // 2 or 1)
    parts = [f"<h2>{html.escape(name)}</h2>"]
    for title, chosen in (("nearest to the true swap", order[:few]), ("farthest from it", order[-few:][::-1])):
        parts.append(f"<h3>{title}: source, target, swap, true swap</h3>{''.join(_case(report, name, chosen, rows))}")
    return "".join(parts)


def _case(report: Report, name: str, chosen: Sequence[int], rows: pd.DataFrame) -> list[str]:
    pairs = draw_again(report.card, chosen)
    figures = []
    for k, row in enumerate(chosen):
        pair, value = report.card.names[row], rows[_ORDER][row]
        swap = read_swap(find_swap(report.folders[name], pair), report.card.size)[0]
        images = [pairs.source.images[[k]], pairs.target.images[[k]], swap, pairs.truth.images[[k]]]
        picture = np.hstack([to_uint8(metrics.image.resized(one, _EDGE))[0] for one in images])
        alt = f"{name}, pair {pair}: source, target, swap, true swap; synthetic"
        caption = f"{pair}: {value:.1f} dB in the face"
        figures.append(
            f'<figure><img alt="{html.escape(alt)}" src="{_jpeg(picture)}"><figcaption>{caption}</figcaption></figure>'
        )
    return figures


def _jpeg(picture: Any) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
