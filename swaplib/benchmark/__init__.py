"""The true-swap benchmark: pairs of rendered faces as plain pictures, and scores of anybody's swaps of them.

>>> from swaplib import benchmark, families
>>> benchmark.export("pairs", "calm", 500)
>>> benchmark.run(families.load("rsgan"), "pairs", "swaps/rsgan")
>>> report = benchmark.score("pairs", {"rsgan": "swaps/rsgan", "mine": "swaps/mine"})
>>> report.save("report")
"""

from __future__ import annotations

from swaplib.benchmark.folders import ENDINGS, Card, export, read_card, run
from swaplib.benchmark.page import SHOWN
from swaplib.benchmark.scores import BOUNDS, Report, score

__all__ = ["BOUNDS", "ENDINGS", "SHOWN", "Card", "Report", "export", "read_card", "run", "score"]
