"""swaplib: face swapping in latent spaces, as a workbook."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swaplib.faces import Faces

__version__ = "0.1.0"
__all__ = ["Faces", "__version__"]

# joblib replaces a worker whose memory has grown and goes on: nothing is lost.
warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)


def __getattr__(name: str) -> Any:
    # torch takes a second and a half to import: the command line's help does without it.
    if name == "Faces":
        from swaplib.faces import Faces

        return Faces
    raise AttributeError(f"module 'swaplib' has no attribute {name!r}")
