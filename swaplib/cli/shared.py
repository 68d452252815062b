"""What the commands have in common: options, and errors told in one sentence."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import Annotated

import typer

Preset = Annotated[str, typer.Option(help="smoke, demo, paper, or official: imported weights.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]
Jobs = Annotated[int, typer.Option(min=1, help="Processes.")]
World = Annotated[str, typer.Option(help="calm (near-frontal, soft light) or wild (everything).")]


@contextmanager
def sentences(*expected: type[Exception]):
    """Expected errors become one sentence and exit code 1; anything else is a bug and keeps its traceback."""
    try:
        yield
    except (ValueError, OSError, ImportError, *expected) as error:
        if os.environ.get("SWAPLIB_DEBUG"):
            raise
        typer.echo(f"swaplib: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("swaplib: interrupted", err=True)
        raise typer.Exit(130) from None


def check_device(device: str) -> str:
    """Return the device. Raises ValueError for one that is unknown, or not here."""
    if device not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {device!r}: choose cpu or cuda")
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ValueError("there is no CUDA device here: choose the device cpu")
    return device


def split_pair(text: str, usage: str) -> tuple[str, str]:
    """Split NAME=VALUE; anything else is wrong usage."""
    name, sign, value = text.partition("=")
    if not sign or not name.isidentifier():
        raise typer.BadParameter(f"{text!r}: write {usage}")
    return name, value
