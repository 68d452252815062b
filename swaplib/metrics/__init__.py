"""The quality of swaps: the true-swap score, the papers' own measures, and the comparison table of all families.

Rendered faces have what no photograph has: the picture that a perfect swap would give (`synthetic.true_swap`).
The true-swap score is the likeness of a family's swap to it.
"""

from __future__ import annotations

from swaplib.metrics.details import score_details
from swaplib.metrics.identity import (
    OVERALL,
    estimate_pose,
    estimate_poses,
    list_taught,
    score_identity,
    score_overall,
    self_consistency,
)
from swaplib.metrics.image import SIZE, absolute_error, face_region, ms_ssim, psnr, score_swaps, ssim
from swaplib.metrics.pairs import SETS, Pairs, PairSet, draw_pairs
from swaplib.metrics.scoring import METRICS, Metric, Scorer
from swaplib.metrics.table import evaluate, in_words, measure, summarise, table_markdown
from swaplib.synthetic import HELD_OUT

__all__ = (
    "HELD_OUT", "METRICS", "OVERALL", "SETS", "SIZE", "Metric", "PairSet", "Pairs", "Scorer", "absolute_error",
    "draw_pairs", "estimate_pose", "estimate_poses", "evaluate", "face_region", "in_words", "list_taught", "measure",
    "ms_ssim", "psnr", "score_details", "score_identity", "score_overall", "score_swaps", "self_consistency", "ssim",
    "summarise", "table_markdown",
)  # fmt: skip
