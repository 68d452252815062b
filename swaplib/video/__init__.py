"""Swapping a face in a video. `video.files` reads and writes videos."""

from __future__ import annotations

from swaplib.video.people import follow, smooth_landmarks
from swaplib.video.swapping import CHUNK, swap

__all__ = ("CHUNK", "follow", "smooth_landmarks", "swap")
