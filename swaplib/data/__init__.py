"""Prepared data sets of faces: reading them, and making them from photographs or by rendering.

`data.writer` writes them so that a run may be killed at any moment; `data.layouts` knows the published layouts.
"""

from __future__ import annotations

from swaplib.data.dataset import Crossed, Dataset, Mixed, Shots, open
from swaplib.data.preparation import Report, prepare
from swaplib.data.rendering import SHARD, render
from swaplib.data.writer import connect

__all__ = ("SHARD", "Crossed", "Dataset", "Mixed", "Report", "Shots", "connect", "open", "prepare", "render")
