"""How good is a swap? The true-swap score, the papers' own measures, and the comparison table of all families.

Rendered faces have what no photograph has: the picture that a perfect swap would give (`synthetic.true_swap`).
The true-swap score is the likeness of a family's swap to it.
"""

from __future__ import annotations

from swaplib.metrics.identity import score_identity, self_consistency
from swaplib.metrics.image import SIZE, absolute_error, face_region, likeness, ms_ssim, psnr, ssim
from swaplib.metrics.table import METRICS, Metric, evaluate, in_words, measure, summarise, table_markdown
from swaplib.synthetic import HELD_OUT

__all__ = (
    "HELD_OUT", "METRICS", "SIZE", "Metric", "absolute_error", "evaluate", "face_region", "in_words", "likeness",
    "measure", "ms_ssim", "psnr", "score_identity", "self_consistency", "ssim", "summarise", "table_markdown",
)  # fmt: skip
