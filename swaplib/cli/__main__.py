"""`python -m swaplib.cli`: the command line of a Python whose scripts are not on the path, or under torchrun."""

from __future__ import annotations

from swaplib.cli import app

if __name__ == "__main__":
    app()
