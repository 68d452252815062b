"""What the numbers of a film mean as colours: its matrix, range, transfer and primaries, and HDR made SDR.

The numbers are ITU-T H.273's. A film that doesn't say is read as players do, by its height.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNKNOWN = 2
PQ, HLG = 16, 18  # SMPTE ST 2084, ARIB STD-B67
HDR = {PQ: "PQ", HLG: "HLG"}
_WHITE = 203  # cd/m² of a white page in HDR (ITU-R BT.2408)
_PEAK = 1000  # cd/m² of the display that HLG is shown on
_KNEE = 0.6  # of SDR's white: what is darker stays as it is
# Linear light of BT.2020 to that of BT.709 (ITU-R BT.2087).
_TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)


@dataclass(frozen=True)
class Colours:
    """Codes of H.273: primaries, transfer, matrix; range is 1 (16 … 235) or 2 (0 … 255)."""

    primaries: int = 1
    transfer: int = 1
    matrix: int = 1
    range: int = 1

    @property
    def is_hdr(self) -> bool:
        return self.transfer in HDR


BT709 = Colours()


def guess(height: int, primaries: int, transfer: int, matrix: int, range_: int) -> Colours:
    """Fill in what a film doesn't say: BT.709's matrix from 720 lines on, BT.601's below; a range of 16 … 235.

    Matrices other than those of BT.601, 709, 2020 and their kin are taken for unknown.
    """
    known = (1, 4, 5, 6, 7, 9)
    matrix = matrix if matrix in known else 9 if transfer in HDR else 1 if height >= 720 else 6
    return Colours(primaries, transfer, matrix, range_ if range_ in (1, 2) else 1)


def to_sdr(picture: np.ndarray, transfer: int) -> np.ndarray:
    """Turn an HDR picture, uint16 RGB (H, W, 3) with BT.2020's primaries, into uint8 RGB of BT.709.

    Its light as displayed, in parts of HDR's white, moves to BT.709's primaries; highlights are pressed below SDR's
    white by an exponential shoulder on the largest of the three colours, so that hues stay.
    """
    light = _DISPLAYED[transfer](picture.astype(np.float32) / 65535)
    light = np.maximum(light @ _TO_709.T, 0)
    top = light.max(-1, keepdims=True)
    rest = 1 - _KNEE
    pressed = np.where(top > _KNEE, 1 - rest * np.exp(-(top - _KNEE) / rest), top)
    light *= pressed / np.maximum(top, 1e-6)
    return np.rint(255 * light ** (1 / 2.4)).astype(np.uint8)  # BT.1886's display


def _from_pq(signal: np.ndarray) -> np.ndarray:
    """Return light in parts of `_WHITE`: the EOTF of SMPTE ST 2084."""
    root = signal ** (1 / 78.84375)
    return 10_000 / _WHITE * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)


def _from_hlg(signal: np.ndarray) -> np.ndarray:
    """Return light in parts of `_WHITE`: the inverse OETF and the OOTF of ITU-R BT.2100, for a display of `_PEAK`."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593], np.float32)
    return _PEAK / _WHITE * scene * np.maximum(luminance, 1e-6)[..., None] ** 0.2


_DISPLAYED = {PQ: _from_pq, HLG: _from_hlg}
