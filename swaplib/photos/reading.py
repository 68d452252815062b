"""Reading picture files: any pixel format to uint8 RGB, and a clear sentence if a file can't be read."""

from __future__ import annotations

import io
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError, features

from swaplib.foreign import EmptyFileError, check_file

MAX_PIXELS = 120_000_000
"""Larger pictures are refused: decoded, they would take more than 360 MB."""
MAX_SIDE = 32_000
"""OpenCV's warps take no longer sides."""


ON_WHITE = "transparent parts were laid on white"  # noted by `read`
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", *(("AVIF",) if features.check("avif") else ()))
"""Formats that are read, whatever a file is called. Pillow knows more, some of which start other programs (EPS)."""


_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


class PhotoError(ValueError):
    """A picture that can't be used. The message names the file and the remedy; `cause` is its class in few words."""

    def __init__(self, message: str, cause: str = "broken"):
        super().__init__(message)
        self.cause = cause


def load(picture: str | os.PathLike | Image.Image | np.ndarray) -> np.ndarray:
    """Read a picture of any pixel format as uint8 RGB (H, W, 3).

    Turned upright as EXIF says, embedded colour profiles turned into sRGB, transparent parts laid on white, the
    first frame of an animation. 16-bit and float pixels are scaled from the smallest usual full scale that holds
    them (1, 255, 4095, 65535). Raises PhotoError for a file that is missing, empty, damaged, too large or no picture.
    """
    return read(picture)[0]


def read(picture: str | os.PathLike | Image.Image | np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Read a picture as `load` does, with notes on what was done to it ("the first of 12 frames was taken")."""
    if isinstance(picture, np.ndarray):
        return _from_array(picture), []
    if isinstance(picture, Image.Image):
        return _guarded(picture, "the picture")
    path = Path(picture)
    refuse_address(picture, "the picture")
    _check_plain(path)
    try:
        with open_image(path, str(path), _formats_for(path)) as image:
            return _guarded(image, str(path))
    except UnidentifiedImageError:
        return _read_tiff(path), []
    except OSError as error:
        reason = error.strerror or str(error)
        raise PhotoError(f"{path} can't be read ({reason}): check that it is a readable picture file") from error


def read_alpha(picture: str | os.PathLike | Image.Image | np.ndarray) -> np.ndarray | None:
    """Read how opaque a picture is, uint8 (H, W), upright; None where it is all opaque."""
    if isinstance(picture, np.ndarray):
        alpha = _to_8_bits(picture[..., 3]) if picture.ndim == 3 and picture.shape[2] == 4 else None
    elif isinstance(picture, Image.Image):
        upright = _upright(picture)
        alpha = np.array(upright.convert("RGBA"))[..., 3] if upright.has_transparency_data else None
    else:
        try:
            with open_image(picture, str(picture)) as image:
                return read_alpha(image)
        except OSError:  # HEIF, or a TIFF of floats: `read` has read it before
            return None
    return None if alpha is None or (alpha == 255).all() else alpha


def restore_alpha(photo: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Give a photo (H, W, 3) that lies on white its transparency back: uint8 RGBA that looks the same on white."""
    share = np.maximum(alpha, 1)[..., None].astype(np.float32) / 255
    colour = 255 - (255 - photo.astype(np.float32)) / share
    return np.dstack([np.rint(colour.clip(0, 255)).astype(np.uint8), alpha])


def _check_plain(path: str | os.PathLike) -> None:
    """Raise PhotoError where `foreign.check_file` refuses a file."""
    try:
        check_file(path, "a picture")
    except FileNotFoundError as error:
        raise PhotoError(str(error), "missing") from None
    except EmptyFileError as error:
        raise PhotoError(str(error), "empty") from None
    except (IsADirectoryError, ValueError) as error:
        raise PhotoError(str(error), "not a picture") from None
    except OSError as error:
        raise PhotoError(str(error)) from error


def refuse_address(path: str | os.PathLike, what: str) -> None:
    """Raise PhotoError for an address of the web; nothing is downloaded here."""
    if found := re.match(r"(https?|ftp):/+", str(path)):
        address = f"{found[1]}://{str(path)[found.end() :]}"  # a Path has swallowed one of the slashes
        raise PhotoError(f"{address} is an address: download {what} first, and name the file", "missing")


def _formats_for(path: Path) -> tuple[str, ...]:
    """Return the formats that a file may have: `FORMATS`, or HEIF, which phones write and another package reads."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] != b"ftyp" or head[8:12] not in _HEIF:
        return FORMATS
    try:
        import pillow_heif
    except ImportError:
        raise PhotoError(
            f"{path} is a HEIC picture: pip install pillow-heif to read it, or save it as JPEG", "not a picture"
        ) from None
    pillow_heif.register_heif_opener()
    return ("HEIF",)


def open_image(file: str | os.PathLike | io.BytesIO, name: str, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """Open a picture of one of some formats, without decoding it yet.

    Raises PhotoError for one that is missing, no plain file, empty, too large or damaged at its head, Pillow's
    UnidentifiedImageError for another format, and OSError.
    """
    if not isinstance(file, io.BytesIO):
        _check_plain(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large pictures; here they are refused
            image = Image.open(file, formats=formats)
    except Image.DecompressionBombError:
        raise PhotoError(_too_large(name, "over 178 million"), "huge") from None
    except OSError:
        raise
    except Exception as error:  # a head that decompresses to gigabytes, say
        raise PhotoError(f"{name} is damaged ({error}): get a whole copy of it") from error
    pixels = image.size[0] * image.size[1]
    if pixels > MAX_PIXELS or max(image.size) > MAX_SIDE:
        image.close()
        raise PhotoError(_too_large(name, f"{pixels:,}"), "huge")
    return image


def _too_large(name: Any, pixels: str) -> str:
    limit = f"{MAX_PIXELS // 10**6} million, or {MAX_SIDE:,} on a side"
    return f"{name} has {pixels} pixels, more than can be read ({limit}): save a smaller copy and use that"


def _guarded(image: Image.Image, name: str) -> tuple[np.ndarray, list[str]]:
    pixels = image.size[0] * image.size[1]
    if pixels > MAX_PIXELS or max(image.size) > MAX_SIDE:
        raise PhotoError(_too_large(name, f"{pixels:,}"), "huge")
    try:
        return _decode(image)
    except Exception as error:  # damaged files make Pillow's decoders raise a dozen kinds of exception
        raise PhotoError(f"{name} is cut off or damaged ({error}): get a whole copy of it") from error


def _decode(image: Image.Image) -> tuple[np.ndarray, list[str]]:
    notes = []
    # Phones store JPEGs with a depth map or preview behind the picture as "MPO": no animation.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"the first of {frames} frames was taken")
        image.seek(0)
    image.load()
    profile = image.info.get("icc_profile")
    upright = _upright(image)
    if upright is not image:
        notes.append("turned upright as its EXIF data says")
    if upright.mode in ("I", "F") or upright.mode.startswith("I;16"):
        return _from_array(np.asarray(upright)), notes
    if upright.has_transparency_data:
        notes.append(ON_WHITE)
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.array(_to_srgb(upright, profile)), notes


def _upright(image: Image.Image) -> Image.Image:
    try:
        turned = ImageOps.exif_transpose(image)
    except Exception:  # malformed EXIF data: the picture itself may be whole
        return image
    return turned if image.getexif().get(0x0112, 1) in range(2, 9) else image


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to RGB, and from a colour profile other than sRGB (Display P3, Adobe RGB, printers' CMYK)."""
    if image.mode != "CMYK":
        image = image.convert("RGB")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(source).lower():
                image = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile, or one for another number of channels
    return image.convert("RGB")


def _read_tiff(path: Path) -> np.ndarray:
    """Read TIFF files with pixels that Pillow doesn't know, such as float RGB."""
    wrong = f"{path} is not a picture in a known format: save it as JPEG or PNG"
    with path.open("rb") as file:
        if file.read(4) not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            raise PhotoError(wrong, "not a picture")
    import tifffile  # comes with scikit-image

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            pixels = page.imagelength * page.imagewidth
            huge = pixels > MAX_PIXELS or max(page.imagelength, page.imagewidth) > MAX_SIDE
            array = None if huge else _from_array(page.asarray())
    except Exception as error:  # as for Pillow: a damaged file may raise anything
        raise PhotoError(f"{wrong} ({error})", "not a picture") from error
    if huge:
        raise PhotoError(_too_large(path, f"{pixels:,}"), "huge")
    return array


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or 0 in array.shape:
        raise PhotoError(f"an array of shape {array.shape} is no picture: give (H, W), (H, W, 3) or (H, W, 4)")
    array = _to_8_bits(array)
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if array.shape[2] == 4:
        alpha = array[..., 3:].astype(np.float32) / 255
        array = np.rint(array[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.ascontiguousarray(array)


def _to_8_bits(array: np.ndarray) -> np.ndarray:
    """Scale pixels of any kind to 0 … 255, in parts, so that memory doesn't hold them as floats all at once."""
    if array.dtype == np.uint8:
        return array
    is_float = array.dtype.kind == "f"
    parts = np.array_split(array, max(1, array.size >> 22))
    low, high = (float(one) for one in (min(_plain(p).min() for p in parts), max(_plain(p).max() for p in parts)))
    if is_float and 1.001 < high < 32:
        raise PhotoError(
            f"its floats reach from {low:.4g} to {high:.4g}, which is no usual range: scale them to 0 … 1 or -1 … 1"
        )
    shift, full = 0.0, 1.0
    if is_float and -1.001 <= low < 0 and high <= 1.001:  # [-1, 1], as everywhere in this package
        shift, full = 1.0, 2.0
    else:
        shift = -low if low < 0 else 0.0
        scales = (*((1.001,) if is_float or array.dtype.kind == "b" else ()), 255, 4095, 65535)
        full = next((float(scale) for scale in scales if high + shift <= scale), high + shift)
        full = 1.0 if full == 1.001 else full
    done = [np.rint(((_plain(part) + shift) * (255 / full)).clip(0, 255)).astype(np.uint8) for part in parts]
    return np.concatenate(done)


def _plain(part: np.ndarray) -> np.ndarray:
    """Return pixels as floats, those that are no numbers or infinite as 0."""
    return np.nan_to_num(part.astype(np.float64), posinf=0, neginf=0)
