"""What is kept on disk between runs."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time

import pytest
import torch
from typer.testing import CliRunner

from swaplib import cache
from swaplib.cli import app


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SWAPLIB_CACHE", str(tmp_path / "kept"))
    monkeypatch.delenv("SWAPLIB_CACHE_LIMIT", raising=False)
    monkeypatch.setattr(cache, "_failed", False)
    monkeypatch.setattr(cache, "_written", cache._WRITTEN)
    return tmp_path / "kept"


class Maker:
    """Makes results and remembers which ones it was asked for."""

    def __init__(self, size: int = 4):
        self.size, self.asked = size, []

    def __call__(self, numbers):
        self.asked += numbers
        return [{"x": torch.full((self.size,), float(number)), "y": torch.tensor([number])} for number in numbers]


def keys(*names):
    return [str(name).encode() for name in names]


def test_only_what_is_missing_is_made():
    make = Maker()
    first = cache.recall("numbers", keys(0, 1), make)
    again = cache.recall("numbers", keys(0, 1, 2), make)
    assert make.asked == [0, 1, 2]
    for one, other in zip(first, again, strict=False):
        assert one.keys() == other.keys() == {"x", "y"}
        assert all(torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one)
    cache.recall("others", keys(0), make)
    assert make.asked == [0, 1, 2, 0]
    assert cache.usage()[0] == 4


def test_a_broken_file_is_made_again(folder):
    make = Maker()
    cache.recall("numbers", keys(0, 1), make)
    one, other = sorted(folder.rglob("*.safetensors"))
    one.write_bytes(one.read_bytes()[:20])
    other.write_bytes(b"")
    found = cache.recall("numbers", keys(0, 1), make)
    assert make.asked == [0, 1, 0, 1]
    assert [int(result["y"]) for result in found] == [0, 1]
    cache.recall("numbers", keys(0, 1), make)
    assert len(make.asked) == 4


def test_a_killed_writer_leaves_nothing_that_is_read(folder):
    make = Maker()
    cache.recall("numbers", keys(0), make)
    (whole,) = folder.rglob("*.safetensors")
    left = whole.with_name("left.part")
    left.write_bytes(whole.read_bytes()[:30])
    cache._keep_limit(folder)
    assert left.exists()  # perhaps of a process that still writes
    os.utime(left, (time.time() - 2 * cache._LEFT_OVER,) * 2)
    cache._written = cache._WRITTEN
    cache._keep_limit(folder)
    assert not left.exists()
    assert whole.exists()


def test_a_full_disk_is_said_once_and_everything_is_made(monkeypatch, recwarn):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache.tempfile, "mkstemp", refuse)
    make = Maker()
    for _ in range(2):
        found = cache.recall("numbers", keys(0, 1), make)
        assert [int(result["y"]) for result in found] == [0, 1]
    assert make.asked == [0, 1, 0, 1]
    (warning,) = [str(one.message) for one in recwarn if "kept" in str(one.message)]
    assert "No space left" in warning
    assert "SWAPLIB_CACHE" in warning


def test_what_was_used_last_stays_below_the_limit(folder, monkeypatch):
    make = Maker(size=25_000)  # 100 kB each
    for number in range(10):
        cache.recall("numbers", keys(number), make)
        for path in folder.rglob("*.safetensors"):
            os.utime(path, (path.stat().st_atime - 10, path.stat().st_mtime - 10))
    cache.recall("numbers", keys(0), make)  # used again
    monkeypatch.setenv("SWAPLIB_CACHE_LIMIT", "0.5")
    cache.recall("numbers", keys("new"), make)
    assert 300_000 < cache.usage()[1] <= 450_000
    make.asked.clear()
    cache.recall("numbers", keys(0, "new"), make)
    assert make.asked == []
    monkeypatch.setenv("SWAPLIB_CACHE_LIMIT", "much")
    with pytest.raises(ValueError, match="megabytes"):
        cache.limit()


def test_without_a_cache_everything_is_made(monkeypatch, folder):
    monkeypatch.setenv("SWAPLIB_CACHE", "")
    make = Maker()
    for _ in range(2):
        cache.recall("numbers", keys(0), make)
    assert make.asked == [0, 0]
    assert not folder.exists()
    assert cache.usage() == (0, 0)


def test_two_processes_share_it(folder):
    script = (
        "import torch\nfrom swaplib import cache\n"
        "make = lambda numbers: [{'x': torch.arange(50_000) + number} for number in numbers]\n"
        "for _ in range(20):\n"
        "    found = cache.recall('numbers', [bytes([k]) for k in range(20)], make)\n"
        "    assert all(int(one['x'][-1]) == 49_999 + k for k, one in enumerate(found))\n"
    )
    environment = os.environ | {"SWAPLIB_CACHE_LIMIT": "4"}  # less than what they keep: they remove while they read
    running = [subprocess.Popen([sys.executable, "-c", script], env=environment) for _ in range(2)]
    assert [one.wait(timeout=120) for one in running] == [0, 0]


def test_the_command_tells_and_clears():
    cache.recall("numbers", keys(0, 1), Maker(size=250_000))
    run = CliRunner().invoke
    assert run(app, ["cache"]).output.startswith("2 results, 2 MB of 4,000")
    assert run(app, ["cache", "--clear"]).output.startswith("2 MB removed")
    assert run(app, ["cache"]).output.startswith("0 results")
