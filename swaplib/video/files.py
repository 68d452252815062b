"""Film files: reading their frames with their times, and writing frames as MP4 or GIF that says that it is synthetic.

PyAV reads and writes: each frame at its own time, the sound of another film beside it, colours by the film's own
matrix and range. Without it OpenCV does, evenly in time, silently, and as MPEG-4 part 2, which browsers don't play.
Animated pictures (GIF, WebP, PNG) are films, too; Pillow reads them.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import chain, count, pairwise
from math import lcm
from pathlib import Path

import numpy as np
from PIL import Image

from swaplib import photos
from swaplib.foreign import check_file
from swaplib.provenance import DigitalSource, replacing, xmp_packet
from swaplib.video import colours
from swaplib.video.colours import Colours

# Read when the first film is opened. Our errors say what ffmpeg's libraries would print about a damaged one.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
from cv2.utils import logging as log

try:
    import av
except ImportError:
    av = None

SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".ogv", ".3gp")
OUT = (".mp4", ".gif")
_STILL = (b"heic", b"heix", b"mif1", b"avif")  # pictures in MP4's container
_CONTAINERS = "mov,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg"  # none that names other files, as playlists do
_ANIMATED = ("GIF", "WEBP", "PNG")
_UNREADABLE = (
    "{} is no video that can be read: it is damaged, or its codec isn't known here; get it again, as MP4 with H.264"
)
_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_GIF_XMP = b"!\xff\x0bXMP DataXMP"
_PLAYED = ("aac", "mp3", "mp3float")  # sound that browsers play in MP4: copied as it is
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}  # by channels
_FINEST = 1_000_000  # parts of a second at most
PLAIN = (
    "PyAV is missing (pip install av): written without sound, at an even frame rate, and with colours as a player "
    "guesses them"
)


@dataclass(frozen=True)
class Info:
    """A film: width and height in pixels, upright; fps, its mean; count of frames as the file says, 0 unknown.

    aspect: width of a pixel in its heights. end: seconds from the start to the end of the picture, None unknown.
    colours: what its numbers mean. notes: what reading it changes.
    """

    width: int
    height: int
    fps: float
    count: int
    aspect: Fraction = Fraction(1)
    end: Fraction | None = None
    colours: Colours = colours.BT709
    notes: tuple[str, ...] = ()


def is_video(path: str | os.PathLike) -> bool:
    """Tell whether a file is a film, by its first bytes, or by its ending if it can't be read.

    Animated pictures are films.
    """
    path = Path(path)
    try:
        head = b""
        if path.is_file():  # a pipe would be waited for without end
            with path.open("rb") as file:
                head = file.read(192)
    except OSError:
        head = b""
    if head[4:8] == b"ftyp":
        return head[8:12] not in _STILL
    known = (b"\x1aE\xdf\xa3", b"FLV\x01", b"\0\0\x01\xba", b"OggS", b"\x30\x26\xb2\x75")
    stream = head[:1] == b"G" and head[188:189] == b"G"
    return (
        head.startswith(known)
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or stream
        or is_animation(path)
        or (path.suffix.lower() in SUFFIXES)
    )


def is_animation(path: str | os.PathLike) -> bool:
    """Tell whether a file is a picture of several frames: GIF, WebP or PNG."""
    try:
        with photos.open_image(path, str(path), _ANIMATED) as image:
            return getattr(image, "is_animated", False)
    except Exception:  # no picture, or a damaged one
        return False


def info(path: str | os.PathLike) -> Info:
    """Read a film's `Info`; raise FileNotFoundError, or ValueError for no film or an unknown codec."""
    path = _existing(path)
    if is_animation(path):
        return _animation_info(path)
    return _opencv_info(path) if av is None else _av_info(path)


def read(path: str | os.PathLike) -> Iterator[tuple[np.ndarray, Fraction]]:
    """Yield all frames in order, uint8 RGB (H, W, 3) and upright, each with its time in seconds.

    Times count from where the file's first stream starts, and rise: a frame without one comes an even step after the
    one before. HDR becomes SDR. Raises as `info` does, except for a file without any frame.
    """
    path = _existing(path)
    found = _read_animation(path) if is_animation(path) else _opencv_read(path) if av is None else _av_read(path)
    step = last = None
    with closing(found):
        for picture, time in found:
            if time is None or (last is not None and time <= last):
                step = step or 1 / Fraction(info(path).fps).limit_denominator(1001)
                time = Fraction(0) if last is None else last + step
            yield picture, time
            last = time


def frames(path: str | os.PathLike) -> Iterator[np.ndarray]:
    """Yield all frames as `read` does, without their times."""
    with closing(read(path)) as found:
        for picture, _ in found:
            yield picture


def _existing(path: str | os.PathLike) -> Path:
    photos.refuse_address(path, "the film")
    return check_file(path, "a film")


# ---------------------------------------------------------------------------------------------- reading by PyAV


def _container(path: Path):
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    return av.open(f"file:{path}", options=options, metadata_errors="replace")


@contextmanager
def _opened(path: Path):
    """Open a film; its picture is the first stream that is no cover."""
    try:
        container = _container(path)
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(_UNREADABLE.format(path)) from error
    with container:
        cover = av.stream.Disposition.attached_pic
        moving = [one for one in container.streams.video if not one.disposition & cover and one.codec_context]
        if not moving:
            raise ValueError(_UNREADABLE.format(path))
        moving[0].thread_type = "AUTO"
        yield container, moving[0]


def _decode(container, stream) -> Iterator:
    """Yield the frames that can be decoded: what is damaged is left out."""
    with suppress(av.error.FFmpegError):  # the file breaks off
        for packet in container.demux(stream):
            with suppress(av.error.InvalidDataError):
                yield from packet.decode()


def _av_info(path: Path) -> Info:
    with _opened(path) as (container, stream):
        first = next(_decode(container, stream), None)
        if first is None:
            raise ValueError(_UNREADABLE.format(path))
        meant = _colours_of(first)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        width, height = first.width, first.height
        if first.rotation % 180:
            width, height, aspect = height, width, 1 / aspect
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        end = stream.duration and stream.duration * stream.time_base
        if end and stream.start_time:
            end += stream.start_time * stream.time_base - _start(container)
        return Info(
            width,
            height,
            fps if 1 <= fps <= 1000 else 25.0,  # files without a rate say 0 or their clock's ticks
            stream.frames,
            aspect,
            end or None,
            colours.BT709 if meant.is_hdr else meant,
            (f"the film is in HDR ({colours.HDR[meant.transfer]}); the result is in SDR",) if meant.is_hdr else (),
        )


def _start(container) -> Fraction:
    """Return when the file's first stream starts, in seconds."""
    return Fraction(container.start_time or 0, av.time_base)


def _colours_of(frame) -> Colours:
    if frame.format.is_rgb:
        return colours.guess(frame.height, colours.UNKNOWN, colours.UNKNOWN, colours.UNKNOWN, 1)
    full = 2 if frame.format.name.startswith("yuvj") else frame.color_range
    return colours.guess(frame.height, frame.color_primaries, frame.color_trc, frame.colorspace, full)


def _av_read(path: Path) -> Iterator[tuple[np.ndarray, Fraction | None]]:
    with _opened(path) as (container, stream):
        start, size = _start(container), None
        converter = lru_cache(maxsize=2)(_converter)  # a new one where size or colours change
        for frame in _decode(container, stream):
            size = size or (frame.width, frame.height)
            meant = _colours_of(frame)
            graph = converter(
                (frame.width, frame.height, frame.format.name),
                (*size, "rgb48le" if meant.is_hdr else "rgb24"),
                f"in_color_matrix={_MATRICES[meant.matrix]}:in_range={_RANGES[meant.range]}:out_range=full",
            )
            graph.push(frame)
            picture = graph.pull().to_ndarray()
            picture = colours.to_sdr(picture, meant.transfer) if meant.is_hdr else picture
            picture = np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90)))
            yield picture, None if frame.pts is None else frame.pts * frame.time_base - start


def _converter(given: tuple[int, int, str], wanted: tuple[int, int, str], options: str):
    """Return a graph that turns frames of a width, height and pixel format into those of others, exact to a level."""
    graph = av.filter.Graph()
    width, height, pixels = given
    nodes = [graph.add_buffer(width=width, height=height, format=pixels, time_base=Fraction(1, 1000))]
    exact = "flags=bicubic+accurate_rnd+full_chroma_int"
    nodes += [graph.add("scale", f"w={wanted[0]}:h={wanted[1]}:{exact}:{options}")]
    nodes += [graph.add("format", f"pix_fmts={wanted[2]}"), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    return graph


_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
_RANGES = {1: "limited", 2: "full"}


# ---------------------------------------------------------------------------------------------- reading by OpenCV


def _opencv_info(path: Path) -> Info:
    capture = _capture(path)
    try:
        if not capture.grab():
            raise ValueError(_UNREADABLE.format(path))
        width, height, fps, number = (
            capture.get(key)
            for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT)
        )
    finally:
        capture.release()
    return Info(int(width), int(height), fps if 1 <= fps <= 1000 else 25.0, max(0, int(number)), notes=(PLAIN,))


def _opencv_read(path: Path) -> Iterator[tuple[np.ndarray, None]]:
    capture = _capture(path)
    try:
        while True:
            there, frame = capture.read()
            if not there:
                return
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), None
    finally:
        capture.release()


def _capture(path: Path) -> cv2.VideoCapture:
    level = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)  # OpenCV's other readers also take pictures
    finally:
        log.setLogLevel(level)
    if not capture.isOpened():
        raise ValueError(_UNREADABLE.format(path))
    return capture


# ---------------------------------------------------------------------------------------------- animated pictures


def _animation_info(path: Path) -> Info:
    lengths = []
    try:
        with photos.open_image(path, str(path), _ANIMATED) as image:
            for k in range(image.n_frames):
                image.seek(k)
                lengths.append(_length(image))
            size = image.size
    except Exception as error:  # damaged files make Pillow's decoders raise a dozen kinds of exception
        raise ValueError(f"{path} is cut off or damaged ({error}): get a whole copy of it") from error
    end = sum(lengths, Fraction(0))
    return Info(*size, float(len(lengths) / end), len(lengths), end=end)


def _read_animation(path: Path) -> Iterator[tuple[np.ndarray, Fraction]]:
    """Yield the frames; transparent parts are laid on white."""
    time = Fraction(0)
    with photos.open_image(path, str(path), _ANIMATED) as image:
        for k in range(image.n_frames):
            image.seek(k)
            layer = image.convert("RGBA")
            yield np.array(Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")), time
            time += _length(image)


def _length(image: Image.Image) -> Fraction:
    """Return how many seconds a frame stays; players show those below 20 ms for 100."""
    image.load()  # WebP tells it then
    length = Fraction(image.info.get("duration") or 0).limit_denominator(1000) / 1000
    return length if length >= Fraction(1, 50) else Fraction(1, 10)


# ---------------------------------------------------------------------------------------------- writing


def write(
    path: str | os.PathLike,
    pictures: Iterable[np.ndarray],
    fps: float,
    source: DigitalSource = "composite",
    text: str = "",
    like: str | os.PathLike | None = None,
    times: Sequence[Fraction] | None = None,
) -> list[str]:
    """Write frames, uint8 RGB (H, W, 3) each, as .mp4 or .gif, whole or not at all; its XMP says that it is synthetic.

    source: how it was made, IPTC's digital source type. like: a film whose sound, colours and pixel aspect it gets,
    and its end. times: of the frames in seconds, rising, on that film's clock; every 1 / fps without them. In an
    .mp4, frames of odd width or height get an extra column or row.
    Returns notes: what is lost without PyAV. Raises ValueError for another ending, for no frames, and if the encoder
    fails.
    """
    path = check_out(path)
    pictures = iter(pictures)
    first = next(pictures, None)
    if first is None:
        raise ValueError(f"there are no frames to write to {path}")
    step = 1 / max(Fraction(fps).limit_denominator(1001), Fraction(1, 1001))
    about = None if like is None else info(like)
    clock = chain(times or (), (k * step for k in count(0 if times is None else len(times))))
    timed = zip(chain([first], pictures), clock, strict=False)
    packet = xmp_packet(
        source, " ".join(filter(None, ("Synthetic video made by face swapping or rendering with swaplib.", text)))
    )
    end = about and about.end
    with replacing(path) as temporary:
        if path.suffix.lower() == ".gif":
            _write_gif(temporary, timed, end, step, like, packet)
            return []
        if av is None:
            _by_opencv(temporary, (picture for picture, _ in timed), first.shape, fps)
        else:
            unit = Fraction(1, _unit([*(times or ()), step]))
            _by_av(temporary, timed, first.shape, unit, fps, end, like, about)
        mark(temporary, packet)
    return [PLAIN] if av is None and like is not None else []


def check_out(path: str | os.PathLike) -> Path:
    """Return the path of a film to be written; raise ValueError for an ending that isn't known."""
    path = Path(path)
    if path.suffix.lower() not in OUT:
        raise ValueError(f"{path}: videos are saved as {' or '.join(OUT)}; choose that ending")
    return path


def _unit(times: Iterable[Fraction]) -> int:
    """Return the ticks of a second that hold all times exactly, or a player's usual 90,000."""
    ticks = 1
    for time in times:
        ticks = lcm(ticks, time.denominator)
        if ticks > _FINEST:
            return 90_000
    return ticks


def _by_av(path: Path, timed, shape, unit: Fraction, fps: float, end, like, about: Info | None) -> None:
    height, width = (-(-side // 2) * 2 for side in shape[:2])
    meant = colours.BT709 if about is None else about.colours
    try:
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as out:
            quality = {"crf": "17", "preset": "medium"} if "libx264" in av.codecs_available else {"qscale": "2"}
            name = "libx264" if "libx264" in av.codecs_available else "mpeg4"
            stream = out.add_stream(name, rate=Fraction(fps).limit_denominator(1001), options=quality)
            context = stream.codec_context
            context.width, context.height, context.pix_fmt, context.time_base = width, height, "yuv420p", unit
            context.sample_aspect_ratio = Fraction(1) if about is None else about.aspect
            context.color_primaries, context.color_trc = meant.primaries, meant.transfer
            context.colorspace, context.color_range = meant.matrix, meant.range
            packets = _encode(stream, timed, (height, width), unit, meant, end)
            if like is None or is_animation(like):
                out.mux(packets)
                return
            with _sound(like, out) as sound:
                _interleave(out, packets, sound)
    except av.error.FFmpegError as error:
        raise ValueError(f"the video could not be encoded ({error.strerror or error})") from error


def _encode(stream, timed, shape, unit: Fraction, meant: Colours, end: Fraction | None) -> Iterator:
    """Yield the picture's packets. A frame lasts until the next, the last one to the end or as long as the one before.

    Encoders give frames out of order and know no lengths: these are set here.
    """
    shown: list[int] = []
    waiting = []
    graph = _converter(
        (*shape[::-1], "rgb24"),
        (*shape[::-1], "yuv420p"),
        f"in_range=full:out_color_matrix={_MATRICES[meant.matrix]}:out_range={_RANGES[meant.range]}",
    )
    for picture, time in timed:
        frame = av.VideoFrame.from_ndarray(_pad(picture, shape))
        graph.push(frame)
        frame = graph.pull()
        frame.colorspace, frame.color_range = meant.matrix, meant.range
        frame.color_primaries, frame.color_trc = meant.primaries, meant.transfer
        frame.time_base, frame.pts = unit, round(time / unit)
        shown.append(frame.pts)
        waiting += stream.encode(frame)
        while waiting and waiting[0].pts < shown[-1]:
            yield _lasting(waiting.pop(0), shown)
    step = shown[-1] - shown[-2] if len(shown) > 1 else round(1 / (stream.codec_context.framerate * unit))
    rest = 0 if end is None else round(end / unit) - shown[-1]
    shown.append(shown[-1] + (rest if rest > 0 else step))
    for packet in [*waiting, *stream.encode(None)]:
        yield _lasting(packet, shown)


def _lasting(packet, shown: Sequence[int]):
    at = bisect_left(shown, packet.pts)
    packet.duration = shown[at + 1] - shown[at]
    return packet


@contextmanager
def _sound(path: str | os.PathLike, out):
    """Give the new film the sound of another: yield its packets, by their times."""
    with _container(_existing(path)) as container:
        places = {}
        for stream in container.streams.audio:
            if stream.codec_context is None or not stream.codec_context.sample_rate:
                continue  # an unknown codec, or a damaged head
            if stream.codec_context.name in _PLAYED:
                places[stream.index] = out.add_stream_from_template(stream)
            else:
                layout = _LAYOUTS.get(stream.codec_context.layout.nb_channels, "stereo")
                places[stream.index] = out.add_stream("aac", rate=stream.codec_context.sample_rate, layout=layout)
        yield _rising(_sound_packets(container, places))


def _rising(packets: Iterable) -> Iterator:
    """Leave out packets of damaged files that go back in time, which no MP4 holds."""
    last: dict[int, int] = {}
    for packet in packets:
        if packet.pts >= packet.dts > last.get(packet.stream.index, packet.dts - 1):
            last[packet.stream.index] = packet.dts
            yield packet


def _sound_packets(container, places: dict) -> Iterator:
    """Yield the sound's packets on the clock of `read`: copied where browsers play them, else encoded as AAC."""
    streams = [stream for stream in container.streams.audio if stream.index in places]
    if not streams:
        return
    start = _start(container)
    with suppress(av.error.FFmpegError):  # the file breaks off
        for packet in container.demux(streams):
            place = places[packet.stream.index]
            if packet.stream.codec_context.name in _PLAYED:
                if packet.dts is not None and packet.pts is not None:
                    shift = round(start / packet.time_base)
                    packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, place
                    yield packet
                continue
            with suppress(av.error.FFmpegError, ValueError):  # what is damaged, or of another form, is left out
                for frame in packet.decode():
                    frame.pts -= round(start / frame.time_base)
                    yield from place.encode(frame)
    for stream in streams:
        if stream.codec_context.name not in _PLAYED:
            yield from places[stream.index].encode(None)


def _interleave(out, pictures: Iterator, sound: Iterator) -> None:
    """Write picture and sound side by side, so that players needn't search."""
    heard = next(sound, None)
    for packet in pictures:
        while heard is not None and heard.dts * heard.time_base <= packet.dts * packet.time_base:
            out.mux(heard)
            heard = next(sound, None)
        out.mux(packet)
    if heard is not None:
        out.mux(chain([heard], sound))


def _by_opencv(path: Path, pictures: Iterable[np.ndarray], shape, fps: float) -> None:
    even = tuple(-(-side // 2) * 2 for side in shape[:2])
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), fps, even[::-1])
    if not writer.isOpened():
        raise ValueError("this OpenCV can't encode videos: pip install av")
    try:
        for picture in pictures:
            writer.write(cv2.cvtColor(_pad(picture, even), cv2.COLOR_RGB2BGR))
    finally:
        writer.release()


def _pad(picture: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Repeat the last column or row of a picture up to a shape."""
    missing = [(0, side - had) for side, had in zip(shape, picture.shape[:2], strict=True)]
    return np.ascontiguousarray(np.pad(picture, (*missing, (0, 0)), mode="edge"))


def _write_gif(path: Path, timed, end: Fraction | None, step: Fraction, like, packet: str) -> None:
    """Write a GIF; its clock counts hundredths of a second."""
    pictures, times = [], []
    for picture, time in timed:
        pictures.append(Image.fromarray(picture).quantize(256))
        times.append(time)
    last = end if end and end > times[-1] else times[-1] + step
    ticks = [round(100 * time) for time in (*times, last)]
    lengths = [10 * max(2, after - at) for at, after in pairwise(ticks)]
    options = {"loop": 0}
    if like is not None and is_animation(like):
        with photos.open_image(like, str(like), _ANIMATED) as image:
            options = {"loop": image.info["loop"]} if "loop" in image.info else {}  # without one it plays once
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=lengths, disposal=1, **options)
    mark(path, packet)


def mark(path: str | os.PathLike, packet: str) -> None:
    """Write XMP into a film, as XMP's specification (part 3) prescribes.

    In an MP4 file it is a box of the type "uuid" at the end, in a GIF an application extension before the end.
    """
    with open(path, "r+b") as file:
        if file.read(3) == b"GIF":
            trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\0"  # leads readers of blocks out of the packet
            file.seek(-1, os.SEEK_END)
            file.write(_GIF_XMP + packet.encode() + trailer + b";")
        else:
            content = _XMP + packet.encode()
            file.seek(0, os.SEEK_END)
            file.write(struct.pack(">I", 8 + len(content)) + b"uuid" + content)


def read_mark(path: str | os.PathLike) -> str | None:
    """Read the XMP of an MP4 file or a GIF, None if it has none; raise ValueError for another or a damaged file."""
    with open(_existing(path), "rb") as file:
        if file.read(3) == b"GIF":
            _, found, packet = file.read().partition(_GIF_XMP)
            return packet.split(b"\x01\xff\xfe")[0].decode(errors="replace") if found else None
        end = file.seek(0, os.SEEK_END)
        at = 0
        while at + 8 <= end:
            file.seek(at)
            size, kind = struct.unpack(">I4s", file.read(8))
            start = at + 8
            if size == 1:
                size, start = int.from_bytes(file.read(8), "big"), at + 16
            size = end - at if size == 0 else size
            if size < start - at or at + size > end:
                raise ValueError(f"{path} is no whole MP4 file: get it again")
            if kind == b"uuid" and file.read(16) == _XMP:
                return file.read(at + size - start - 16).decode(errors="replace")
            at += size
    return None
