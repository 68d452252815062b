"""Video files: reading their frames, and writing frames as MP4 that says in its metadata that it is synthetic.

OpenCV reads. ffmpeg, from the PATH or the package imageio-ffmpeg, writes H.264 with the sound of another video if
given. Without it OpenCV writes MPEG-4 part 2, which is silent and which browsers don't play.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np

from swaplib.provenance import DigitalSource, replacing, xmp_packet

# Read when the first video is opened. Our errors say what ffmpeg's libraries would print about a damaged one.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
from cv2.utils import logging as log

SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".ogv", ".3gp")
_STILL = (b"heic", b"heix", b"mif1", b"avif")  # pictures in MP4's container
_UNREADABLE = (
    "{} is no video that can be read: it is damaged, or its codec isn't known here; get it again, as MP4 with H.264"
)
_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
NO_SOUND = "without sound, should the video have any: ffmpeg is missing (install it, or pip install imageio-ffmpeg)"


@dataclass(frozen=True)
class Info:
    """width, height: pixels, turned upright. fps: frames a second. count: of frames, as the file says; 0 unknown."""

    width: int
    height: int
    fps: float
    count: int


def is_video(path: str | os.PathLike) -> bool:
    """Tell whether a file is a video, by its first bytes, or by its ending if it can't be read."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(192)
    except OSError:
        return path.suffix.lower() in SUFFIXES
    if head[4:8] == b"ftyp":
        return head[8:12] not in _STILL
    known = (b"\x1aE\xdf\xa3", b"FLV\x01", b"\0\0\x01\xba", b"OggS", b"\x30\x26\xb2\x75")
    stream = head[:1] == b"G" and head[188:189] == b"G"
    return (
        head.startswith(known)
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or stream
        or (path.suffix.lower() in SUFFIXES)
    )


def info(path: str | os.PathLike) -> Info:
    """Read a video's `Info`; raise FileNotFoundError, or ValueError for no video or a codec unknown to OpenCV."""
    capture = _open(path)
    try:
        if not capture.grab():
            raise ValueError(_UNREADABLE.format(path))
        width, height, fps, count = (
            capture.get(key)
            for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT)
        )
    finally:
        capture.release()
    # Files without a rate say 0 or their clock's ticks.
    return Info(int(width), int(height), fps if 1 <= fps <= 1000 else 25.0, max(0, int(count)))


def frames(path: str | os.PathLike) -> Iterator[np.ndarray]:
    """Yield all frames in order, uint8 RGB (H, W, 3); raise as `info` does, except for a file without any frame."""
    capture = _open(path)
    try:
        while True:
            there, frame = capture.read()
            if not there:
                return
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _open(path: str | os.PathLike) -> cv2.VideoCapture:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: check the path")
    level = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)  # OpenCV's other readers also take pictures
    finally:
        log.setLogLevel(level)
    if not capture.isOpened():
        raise ValueError(_UNREADABLE.format(path))
    return capture


# ---------------------------------------------------------------------------------------------- writing


def write(
    path: str | os.PathLike,
    pictures: Iterable[np.ndarray],
    fps: float,
    source: DigitalSource = "composite",
    text: str = "",
    sound: str | os.PathLike | None = None,
) -> list[str]:
    """Write frames, uint8 RGB (H, W, 3) each, as .mp4, whole or not at all; its XMP says that it is synthetic.

    source: how it was made, IPTC's digital source type. sound: a video whose sound it gets. Frames of odd width or
    height get an extra column or row. Returns notes: that the sound is missing. Raises ValueError for another ending,
    for no frames, and if the encoder fails.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"{path}: videos are saved as .mp4; choose that ending")
    pictures = iter(pictures)
    first = next(pictures, None)
    if first is None:
        raise ValueError(f"there are no frames to write to {path}")
    program = ffmpeg()
    with replacing(path) as temporary:
        if program:
            _by_ffmpeg(program, temporary, chain([first], pictures), first.shape, fps, sound)
        else:
            _by_opencv(temporary, chain([first], pictures), first.shape, fps)
        note = " ".join(filter(None, ("Synthetic video made by face swapping or rendering with swaplib.", text)))
        mark(temporary, xmp_packet(source, note))
    return [] if program or sound is None else [NO_SOUND]


@cache
def ffmpeg() -> str | None:
    """Return ffmpeg's path: that on the PATH, else imageio-ffmpeg's; None if there is neither."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None


@cache
def _encoder(program: str) -> tuple[str, ...]:
    """Choose H.264 if this ffmpeg can encode it (some builds can't), else MPEG-4 part 2."""
    listed = subprocess.run([program, "-hide_banner", "-encoders"], capture_output=True, text=True, check=False).stdout
    return ("libx264", "-crf", "17", "-preset", "medium") if " libx264 " in listed else ("mpeg4", "-q:v", "2")


def _by_ffmpeg(program: str, path: Path, pictures: Iterable[np.ndarray], shape, fps: float, sound) -> None:
    rate = Fraction(fps).limit_denominator(1001)
    given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{shape[1]}x{shape[0]}", "-r", str(rate), "-i", "-"]
    given += [] if sound is None else ["-i", str(sound), "-map", "0:v", "-map", "1:a?", "-c:a", "aac"]
    wanted = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-c:v", *_encoder(program), "-pix_fmt", "yuv420p"]
    command = [program, "-y", "-nostdin", "-loglevel", "error", *given, *wanted, "-movflags", "+faststart", str(path)]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said)
        try:
            with suppress(BrokenPipeError), process.stdin:  # ffmpeg's own message says why it stopped
                for picture in pictures:
                    process.stdin.write(np.ascontiguousarray(picture).data)
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()
        if process.returncode:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
            raise ValueError(f"ffmpeg could not write the video ({lines[-1] if lines else process.returncode})")


def _by_opencv(path: Path, pictures: Iterable[np.ndarray], shape, fps: float) -> None:
    even = tuple(-(-side // 2) * 2 for side in shape[:2])
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), fps, even[::-1])
    if not writer.isOpened():
        raise ValueError("this OpenCV can't encode videos: install ffmpeg, or pip install imageio-ffmpeg")
    try:
        for picture in pictures:
            missing = [(0, side - had) for side, had in zip(even, picture.shape[:2], strict=True)]
            padded = np.pad(picture, (*missing, (0, 0)), mode="edge")
            writer.write(cv2.cvtColor(padded, cv2.COLOR_RGB2BGR))
    finally:
        writer.release()


def mark(path: str | os.PathLike, packet: str) -> None:
    """Append XMP to an MP4 file: a box of the type "uuid", as XMP's specification (part 3) prescribes."""
    content = _XMP + packet.encode()
    with open(path, "ab") as file:
        file.write(struct.pack(">I", 8 + len(content)) + b"uuid" + content)


def read_mark(path: str | os.PathLike) -> str | None:
    """Read the XMP of an MP4 file, None if it has none; raise ValueError for a file that isn't made of boxes."""
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        at = 0
        while at + 8 <= end:
            file.seek(at)
            size, kind = struct.unpack(">I4s", file.read(8))
            start = at + 8
            if size == 1:
                size, start = struct.unpack(">Q", file.read(8))[0], at + 16
            size = end - at if size == 0 else size
            if size < start - at or at + size > end:
                raise ValueError(f"{path} is no whole MP4 file: get it again")
            if kind == b"uuid" and file.read(16) == _XMP:
                return file.read(at + size - start - 16).decode()
            at += size
    return None
