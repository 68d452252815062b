"""Swapping faces in films. `video.files` reads and writes films."""

from __future__ import annotations

from swaplib.video.looking import Footage, look_through
from swaplib.video.people import Person, smooth_landmarks, tell_apart
from swaplib.video.swapping import swap

__all__ = ("Footage", "Person", "look_through", "smooth_landmarks", "swap", "tell_apart")
