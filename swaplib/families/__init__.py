"""The families by name. This is the only place that knows which ones exist."""

from __future__ import annotations

from swaplib.families.base import Codes, Family, Part, Phase

__all__ = ["Codes", "Family", "Part", "Phase"]
