"""swaplib: face swapping in latent spaces, as a workbook."""

from __future__ import annotations

import warnings

__version__ = "0.1.0"
__all__ = ["__version__"]

# joblib replaces a worker whose memory has grown and goes on: nothing is lost.
warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
