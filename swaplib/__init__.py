"""swaplib: face swapping in latent spaces, as a workbook."""

from swaplib.faces import Faces

__version__ = "0.1.0"
__all__ = ["Faces", "__version__"]
