"""`python -m swaplib.cli`: the command line of a Python that hasn't its scripts on the path."""

from __future__ import annotations

from swaplib.cli import app

if __name__ == "__main__":
    app()
