"""Where a file came from: versions, commit, hashes, and the mark in a picture that it is synthetic."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import tempfile
import uuid
from contextlib import contextmanager
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import escape

from filelock import FileLock, Timeout
from PIL import PngImagePlugin


@contextmanager
def replacing(path: str | Path):
    """Yield a temporary path that becomes `path` if the block succeeds, and is removed if it fails.

    A new file gets the permissions that the process gives to files, an old one keeps its own.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}{path.suffix}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    usual = (path if path.exists() else temporary).stat().st_mode & 0o777
    try:
        yield temporary
        temporary.chmod(usual)  # some libraries write a file of their own in its place
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def clear_left_over(folder: str | Path) -> None:
    """Delete what killed processes of this machine have left of `replacing` in a folder and below it."""
    for path in Path(folder).rglob(".*"):
        found = re.fullmatch(rf"\..+\.{_host()}-(\d+)-[0-9a-f]{{8}}(\.\w+)?", path.name)
        if found and not _is_alive(int(found[1])):
            path.unlink(missing_ok=True)


@lru_cache
def _host() -> str:
    """Return a few letters that stand for this machine: others may write into the same folder."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def _is_alive(pid: int) -> bool:
    if os.name != "posix":  # where signal 0 is one that ends processes
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class Hold:
    """Keeps other processes out of a folder until it is let go of, or until the process ends, however it ends.

    What a killed process has left in it is deleted first.
    """

    def __init__(self, folder: str | Path):
        place = Path(tempfile.gettempdir()) / f"swaplib-{os.getuid() if hasattr(os, 'getuid') else os.getlogin()}"
        place.mkdir(mode=0o700, exist_ok=True)
        name = hashlib.sha256(os.fsencode(Path(folder).resolve())).hexdigest()[:32]
        self.folder, self.lock = folder, FileLock(place / f"{name}.lock", timeout=0)

    def __enter__(self) -> Hold:
        try:
            self.lock.acquire()
        except Timeout:
            raise ValueError(
                f"another process works in {self.folder}: wait until it is done, or choose another folder"
            ) from None
        clear_left_over(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def write_text(path: str | Path, text: str) -> bool:
    """Write a text file atomically, unless it already holds that text; return whether it was written."""
    path = Path(path)
    if path.exists() and path.read_bytes() == text.encode():
        return False
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode())
    return True


def as_cell(text: Any) -> str:
    """Return a text for a cell of a Markdown table: on one line, and with nothing in it that a browser would run."""
    return escape(str(text)).replace("|", "\\|").replace("\n", " ")


def versions() -> dict[str, str]:
    """Return the versions of swaplib and of the packages that determine its numbers and pictures."""
    names = ("swaplib", "torch", "numpy", "matplotlib", "scikit-image", "opencv-python-headless", "dlib-bin", "dlib")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # conda and PyPI name dlib and opencv differently
    return found


def checkout() -> Path | None:
    """Return the checkout that swaplib runs from, which holds notebooks/; None where it is installed without one."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "notebooks").is_dir() else None


@lru_cache(maxsize=1)
def commit() -> str | None:
    """Return the checkout's commit, with a + if files in swaplib/ or notebooks/ differ from it; None without git."""

    root = checkout()
    if root is None:
        return None

    def git(*command: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "swaplib", "notebooks/*.ipynb")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def origin() -> dict[str, Any]:
    """Return the notebook, its parameters and which were set: from the runner, or else its name alone, from Jupyter."""
    if text := os.environ.get("SWAPLIB_RUN"):
        return json.loads(text)
    session = os.environ.get("JPY_SESSION_NAME")
    return {"notebook": Path(session).stem if session else None, "parameters": {}, "set": {}}


# ---------------------------------------------------------------------------------------------- synthetic pictures

DIGITAL_SOURCES = {
    "composite": "compositeSynthetic",  # parts of it are synthetic: swaps on photographs
    "rendered": "algorithmicMedia",  # made by an algorithm that was not trained: rendered faces
    "generated": "trainedAlgorithmicMedia",  # made by a trained network
}
DigitalSource = Literal["composite", "rendered", "generated"]
_TEMPLATE = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmp:CreatorTool="{software}"
 Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/{kind}">
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li></rdf:Alt></dc:description>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


def software() -> str:
    """Return swaplib's name and version, for the metadata of files."""
    return f"swaplib {metadata.version('swaplib')}"


def xmp_packet(source: DigitalSource, text: str) -> str:
    """Return XMP that states IPTC's digital source type, the mark that picture services read."""
    if source not in DIGITAL_SOURCES:
        raise ValueError(f"unknown digital source {source!r}: choose one of {', '.join(DIGITAL_SOURCES)}")
    return _TEMPLATE.format(software=escape(software()), kind=DIGITAL_SOURCES[source], text=escape(text))


def png_text(source: DigitalSource, text: str, **more: str) -> PngImagePlugin.PngInfo:
    """Return the metadata of a PNG: what it is, in words and in XMP."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp_packet(source, text))
    for key, value in {"Software": software(), "Description": text, **more}.items():
        info.add_itxt(key, value)
    return info
