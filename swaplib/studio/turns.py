"""One event at a time: JupyterLab gives the events of widgets to several threads of the kernel, a cell's to another."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

TURN = threading.RLock()
"""Held while an app changes its state or draws; every app of a kernel takes its turn."""


def in_turn(action: Callable[..., Any]) -> Callable[..., Any]:
    """Return an action that waits until no other one runs; what it calls itself needn't wait."""

    @functools.wraps(action)
    def one(*given: Any, **named: Any) -> Any:
        with TURN:
            return action(*given, **named)

    return one
