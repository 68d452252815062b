"""What the renderer's pictures follow from, besides the factors: its version and the state of its files."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

RENDERER = "2.0"
"""Version of the pictures: raised whenever the same factors or seeds show anything else than before."""


@cache
def digest_files() -> str:
    """Return a digest of the code and the head: what is kept of another state must not be taken for this one's."""
    files = sorted(path for path in Path(__file__).parent.iterdir() if path.suffix in (".py", ".npz"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
