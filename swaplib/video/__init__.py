"""Swapping a face in a video. `video.files` reads and writes videos."""

from __future__ import annotations

from swaplib.video.people import follow, smoothed
from swaplib.video.swapping import CHUNK, swap

__all__ = ("CHUNK", "follow", "smoothed", "swap")
