"""Films for the tests, made by PyAV alone: any times, colours and sound."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 48_000  # samples of sound a second


def make_film(
    path: Path,
    pictures: Sequence[np.ndarray],
    times: Sequence[Fraction],
    codec: str = "libx264",
    pixels: str = "yuv420p",
    tags: tuple[int, int, int, int] | None = None,
    aspect: Fraction | None = None,
    beep: Fraction | None = None,
    sound: str = "aac",
    seconds: float = 2.5,
    turned: int = 0,
) -> Path:
    """Write a film: pictures RGB, or planes as PyAV takes them where `pixels` has others; tags: as in `Colours`.

    beep: when a sine of 1 kHz sets in, in sound of `seconds`.
    """
    with av.open(str(path), "w") as out:
        height, width = pictures[0].shape[:2]
        given = "rgb24" if pictures[0].ndim == 3 else pixels
        stream = out.add_stream(codec, rate=30)
        context = stream.codec_context
        context.pix_fmt, context.time_base = pixels, Fraction(1, 30_000)
        context.width, context.height = width, height if given == "rgb24" else height * 2 // 3
        if codec == "libx264":
            context.options = {"crf": "4"}
        if aspect:
            context.sample_aspect_ratio = aspect
        if tags:
            context.color_primaries, context.color_trc, context.colorspace, context.color_range = tags
        if turned:
            stream.set_display_rotation(turned)
        voice = None if beep is None else out.add_stream(sound, rate=RATE, layout="mono")
        for picture, time in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture) if given == "rgb24" else _lay(picture, pixels)
            frame.time_base, frame.pts = context.time_base, round(time * 30_000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if voice is not None:
            at = np.arange(round(seconds * RATE))
            wave = np.where(at >= beep * RATE, 0.5 * np.sin(2 * np.pi * 1000 * at / RATE), 0).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            out.mux(voice.encode(frame))
            out.mux(voice.encode(None))
    return path


def _lay(picture: np.ndarray, pixels: str) -> av.VideoFrame:
    """Make a frame of planes 4:2:0 that lie below each other."""
    height, width = picture.shape[0] * 2 // 3, picture.shape[1]
    frame = av.VideoFrame(width, height, pixels)
    parts = [picture[:height], *picture[height:].reshape(2, height // 2, width // 2)]
    for plane, part in zip(frame.planes, parts, strict=True):
        padded = np.zeros((plane.height, plane.line_size // part.itemsize), part.dtype)
        padded[:, : part.shape[1]] = part
        plane.update(padded)
    return frame


def hear_beep(path: Path) -> float:
    """Return when the sound sets in, in seconds on the clock that players use; NaN without sound."""
    with av.open(str(path)) as container:
        start = (container.start_time or 0) / av.time_base
        for frame in container.decode(audio=0) if container.streams.audio else ():
            loud = np.abs(frame.to_ndarray().astype(float)).max(0)
            limit = 0.1 * (1 if frame.format.name.startswith("flt") else 32767)
            if (loud > limit).any():
                return frame.pts * frame.time_base + np.argmax(loud > limit) / frame.sample_rate - start
    return float("nan")
