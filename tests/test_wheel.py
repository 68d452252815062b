"""The wheel holds what swaplib needs anywhere, and not what only the checkout needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
SYSTEMS = ("rsgan", "mask_guided", "smooth_swap", "latent_swap", "e4s")
LEFT_OUT = r"ali_|alpha_gan_|vae_gan_|identity_demo-|\w+_(known|photo|printed|views)\."
MOST = 100e6  # bytes: what an index of packages takes


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    pytest.importorskip("setuptools", minversion="77", reason="setuptools 77 or newer builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "swaplib"  # the build leaves files behind
    for name in ("swaplib", "studies"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    done = subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_is_small(wheel):
    assert wheel.stat().st_size < MOST, f"{wheel.stat().st_size / 1e6:.1f} MB"


@pytest.mark.slow
def test_the_wheel_holds_the_package_alone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"swaplib"}
    checkpoints = {Path(name).name for name in names if name.startswith("swaplib/checkpoints/")}
    for system in SYSTEMS:
        assert {f"{system}_demo.safetensors", f"{system}_demo.md"} <= checkpoints
    assert {name for name in checkpoints if re.match(LEFT_OUT, name)} == set()
    there = {path.name for path in (ROOT / "swaplib" / "checkpoints").iterdir()}
    assert checkpoints == {name for name in there if not re.match(LEFT_OUT, name)}
    packed = {name for name in names if not name.startswith("swaplib-")}
    assert {"swaplib/synthetic/head.npz", "swaplib/studio/painter.js"} <= packed
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "swaplib").rglob("*.py")}
    assert {name for name in packed if name.endswith(".py")} == modules
