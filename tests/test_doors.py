"""Every file from elsewhere, damaged in every way: a reader refuses it in one sentence, and no command exits with 0.

The doors and their whole files are those that `benchmarks/fuzzing.py` damages at random.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import struct
import sys
import warnings
import zlib
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from swaplib import cli, families, provenance, weights
from swaplib.video import files
from swaplib.workbook import runner

ROOT = provenance.checkout()
spec = importlib.util.spec_from_file_location("fuzzing", ROOT / "benchmarks" / "fuzzing.py")
fuzzing = sys.modules["fuzzing"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fuzzing)

REFUSED = (ValueError, OSError, runner.WorkbookError)
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n"


# ---------------------------------------------------------------------------------------------- sentences


def list_options() -> tuple[set[str], set[str]]:
    """Return the names of all commands, and of all their options."""
    names, options = set(), {"--help", "--version"}
    waiting = [typer.main.get_command(cli.app)]
    while waiting:
        command = waiting.pop()
        names.add(command.name)
        options |= {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        waiting += getattr(command, "commands", {}).values()
    return names, options


@cache
def list_nodes() -> dict[str, list[ast.AST]]:
    """Return all nodes of the package's code by module."""
    package = ROOT / "swaplib"
    return {
        path.relative_to(package).as_posix(): [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
        for path in sorted(package.rglob("*.py"))
    }


def list_arguments() -> set[str]:
    """Return the names of all arguments of the package's functions, and of all fields of its classes."""
    names = set()
    for node in chain.from_iterable(list_nodes().values()):
        if isinstance(node, ast.arguments):
            names |= {one.arg for one in (*node.posonlyargs, *node.args, *node.kwonlyargs)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


COMMANDS, OPTIONS = list_options()
ARGUMENTS = list_arguments()


def find_invented(text: str) -> set[str]:
    """Return the options, commands and arguments that a text names and that don't exist."""
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) - OPTIONS - {"--allow-root", "--data-dir"}
    commands = set(re.findall(r"(?<=swaplib )(?!info\b)[a-z]+(?= [A-Z]|\b(?= --))", text)) - COMMANDS
    return options | commands | (set(re.findall(r"(?<![\w.])([a-z_]{2,})=(?=\S)", text)) - ARGUMENTS)


def assert_sentence(text: str, *names: object) -> None:
    """Assert that a message is one sentence or two, names one of the given files, a cause and a remedy."""
    assert any(str(name) in text for name in names), text
    assert "\n" not in text.strip(), text
    assert len(re.findall(r"[.!?] [A-Z]", text)) <= 1, text
    assert len(text) < 500, text
    assert re.search(r"\S[:;,] \S", text), f"no remedy: {text}"
    assert not re.search(r"Traceback|\[Errno|<class|object at 0x", text), text
    assert not find_invented(text), text


def test_every_option_command_and_argument_in_an_error_exists():
    told = 0
    for node in chain.from_iterable(list_nodes().values()):
        if isinstance(node, ast.Raise) and node.exc is not None:
            texts = [one.value for one in ast.walk(node.exc) if isinstance(one, ast.Constant)]
            for text in (text for text in texts if isinstance(text, str)):
                assert not find_invented(text), text
                told += 1
    assert told > 400
    assert find_invented("say --nonsense, swaplib wish FILE, or pass wish=1") == {"--nonsense", "wish"}


RAW = {"np.load", "torch.load", "json.load", "json.loads", "yaml.safe_load", "Image.open", "pd.read_csv", "safe_open",
       "pd.read_parquet", "av.open", "nbformat.read", "load_file", "np.fromfile", "np.loadtxt"}  # fmt: skip
READERS = {
    "foreign.py": {"np.load", "json.loads", "yaml.safe_load", "pd.read_csv"},
    "weights/files.py": {"torch.load", "safe_open"},
    "weights/unpickling.py": {"torch.load"},
    "photos/reading.py": {"Image.open"},
    "video/files.py": {"av.open"},
    "data/writer.py": {"pd.read_parquet", "json.loads"},
    # What comes with the package, what the package has just written, and no files.
    **{name: {"np.load"} for name in ("judges/shape_model.py", "metrics/details.py", "synthetic/head.py")},
    **{
        name: {"Image.open"}
        for name in ("figures/saving.py", "judges/augment.py", "synthetic/baking.py", "workbook/pages.py")
    },
    **{name: {"json.loads"} for name in ("provenance.py", "weights/configs.py")},
}
"""Who may call what reads a format, or any file of it."""


def test_only_the_readers_read_formats():
    for name, nodes in list_nodes().items():
        called = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
        assert called & RAW == READERS.get(name, set()), (
            f"{name}: files from elsewhere go through swaplib.foreign's readers"
        )


# ---------------------------------------------------------------------------------------------- doors, damage


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("seeds")
    fuzzing.make_seeds(folder)
    return folder


SEEDS = [
    "published/rosinality.pt", "published/protocol4.pkl", "published/official.safetensors", "named/named.pth",
    "released/own.safetensors", "weights_card/own.md", "checkpoint/checkpoint.pt", "log/log.csv", "picture/picture.png",
    "picture/picture.jpeg", "picture/picture.tiff", "mask/mask.png", "figure/figure.png", "film/film.mp4",
    "mark/film.mp4", "arrays/arrays.npz", "set/card.json", "set/metadata.parquet", "set/images/0.png",
    "set/labels/0.png", "pairs/card.json", "layout/celeba/list_attr_celeba.txt",
    "layout/celeba/list_landmarks_align_celeba.txt", "layout/celeba/identity_CelebA.txt",
    "layout/celeba/list_eval_partition.txt", "layout/celebamask_hq/CelebA-HQ-to-CelebA-mapping.txt",
    "layout/ffhq/ffhq-dataset-v2.json", "layout/vggface2/loose_landmark_train.csv", "layout/helen/exemplars.txt",
    "layout/classes/labels/classes.csv", "entries/manifest.json", "state/state.json", "painting/painting.json",
    "notebook/00_toy.ipynb", "preset/presets/toy.yaml",
]  # fmt: skip
DAMAGED = {
    "truncated": lambda whole: whole[: len(whole) // 2],
    "random": lambda whole: np.random.default_rng(len(whole)).bytes(max(64, len(whole))),
    "web page": lambda whole: PAGE,
    "another kind": lambda whole: b"{}" if whole.startswith((b"\x89PNG", b"\xff\xd8", b"II*")) else _png(8, 8),
    "empty": lambda whole: b"",
}
LINES = ("log", "layout", "film", "mark", "preset")
"""Doors whose files say something when they are cut off, too."""
EMPTY = ("log", "layout", "preset")
"""Doors whose files may be empty."""
OPTIONAL = ("layout", "log", "entries")
"""Doors that do without the file."""


def _png(width: int, height: int) -> bytes:
    """Return a grey PNG that says what size it has, whatever it holds."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((1 + width) * min(height, 8)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def read(path: Path, tmp_path: Path) -> object:
    door = path.relative_to(tmp_path).parts[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fuzzing.DOORS[door].read(path)


def assert_refused(path: Path, tmp_path: Path) -> str:
    with pytest.raises(REFUSED) as caught:
        read(path, tmp_path)
    text = str(caught.value)
    named = path.with_suffix(".safetensors" if path.name == "own.md" else path.suffix)
    assert_sentence(text, path.name, named.name, path.parent)
    return text


def test_whole_files_are_read(seeds, tmp_path):
    listed = {path.relative_to(seeds).as_posix() for door in fuzzing.DOORS for path in fuzzing.list_seeds(seeds, door)}
    assert set(SEEDS) <= listed
    assert {name.split("/")[0] for name in SEEDS} == set(fuzzing.DOORS)
    for name in SEEDS:
        path = fuzzing.lay_out(tmp_path, seeds, seeds / name, (seeds / name).read_bytes())
        if not name.startswith("published/protocol"):  # a pickle without networks
            read(path, tmp_path)


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_files_get_a_sentence(name, seeds, tmp_path):
    whole, door = (seeds / name).read_bytes(), name.split("/")[0]
    for damage, change in DAMAGED.items():
        path = fuzzing.lay_out(tmp_path, seeds, seeds / name, change(whole))
        if (damage == "truncated" and door in LINES) or (damage == "empty" and door in EMPTY):
            try:
                read(path, tmp_path)
            except REFUSED as error:
                assert_sentence(str(error), path.name, path.parent)
        else:
            text = assert_refused(path, tmp_path)
            assert damage != "web page" or "web page" in text, text
    fuzzing.lay_out(tmp_path, seeds, seeds / name, None)
    if door not in OPTIONAL:
        assert_refused(path, tmp_path)
    path.mkdir()
    if door != "layout":
        assert_refused(path, tmp_path)
    path.rmdir()
    os.mkfifo(path)
    if door not in ("layout", "log"):
        assert_refused(path, tmp_path)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("name", SEEDS)
def test_files_without_permission_get_a_sentence(name, seeds, tmp_path):
    path = fuzzing.lay_out(tmp_path, seeds, seeds / name, (seeds / name).read_bytes())
    path.chmod(0)
    assert_refused(path, tmp_path)


# ---------------------------------------------------------------------------------------------- numbers, shapes, fields

JSON = [name for name in SEEDS if name.endswith((".json", ".ipynb"))]


@pytest.mark.parametrize("name", JSON)
def test_json_of_other_values_gets_a_sentence(name, seeds, tmp_path):
    """Nested too deeply, no object, numbers that are not finite, and each field missing or of another kind."""
    whole = json.loads((seeds / name).read_text())
    for text in ("[" * 100_000, "[1, 2]", '{"a": NaN}', '{"a": 1e999}', json.dumps(whole)[:-1] + ', "b": -Infinity}'):
        path = fuzzing.lay_out(tmp_path, seeds, seeds / name, text.encode())
        if "e999" not in text or not name.startswith(("entries", "layout")):
            assert_refused(path, tmp_path)
    for field in whole:
        for other in ({key: value for key, value in whole.items() if key != field}, {**whole, field: "x" * 60}):
            path = fuzzing.lay_out(tmp_path, seeds, seeds / name, json.dumps(other).encode())
            try:
                read(path, tmp_path)
            except REFUSED as error:
                assert_sentence(str(error), path.name, path.parent)


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    return weights.files.read_safetensors(path, weights.files.read_head(path)[1])


@pytest.mark.filterwarnings("ignore:torch.quantize")
def test_tensors_of_other_numbers_get_a_sentence(seeds, tmp_path):
    """Not finite, sparse, of 8 bits, larger than their file, and a size that is only in a name."""
    whole = tensors_of(seeds / "published" / "official.safetensors")
    name = min(whole)
    path = fuzzing.lay_out(tmp_path, seeds, seeds / "published" / "official.safetensors", b"")
    save_file({**whole, name: torch.full_like(whole[name], torch.nan)}, path)
    assert "not finite" in assert_refused(path, tmp_path)
    save_file({**whole, name: torch.full(whole[name].shape, torch.nan).to(torch.float8_e5m2)}, path)
    assert "not finite" in assert_refused(path, tmp_path)
    path = path.with_name("rosinality.pt")
    found = torch.load(seeds / "published" / path.name, weights_only=True)
    name = min(found["g_ema"])
    for wrong in (
        torch.zeros(10**6, 10**6, device="meta"),
        torch.eye(3).to_sparse(),
        torch.full((3,), -torch.inf),
        torch.zeros(1).expand(10**9),
        torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    ):
        torch.save({**found, "g_ema": {**found["g_ema"], name: wrong}}, path)
        assert_refused(path, tmp_path)
    for size in ("1048576", "9" * 9, "512"):
        giant = {key.replace(".b16.", f".b{size}."): value for key, value in whole.items()}
        with pytest.raises(ValueError, match="of another build") as caught:
            weights.published.build(giant, path)
        assert_sentence(str(caught.value), path.name)


def test_a_pickle_that_asks_for_code_gets_a_sentence(seeds, tmp_path):
    path = fuzzing.lay_out(tmp_path, seeds, seeds / "published/protocol4.pkl", b"cos\nsystem\n(S'true'\ntR.")
    assert "os.system" in assert_refused(path, tmp_path) or "posix.system" in assert_refused(path, tmp_path)


@pytest.mark.parametrize("name", ["picture/picture.png", "mask/mask.png", "figure/figure.png", "set/images/0.png"])
def test_pictures_that_say_they_are_huge_get_a_sentence(name, seeds, tmp_path):
    for shape in ((60_000, 60_000), (40_000, 8)):
        path = fuzzing.lay_out(tmp_path, seeds, seeds / name, _png(*shape))
        assert "save a smaller copy" in assert_refused(path, tmp_path)


def test_tables_of_other_values_get_a_sentence(seeds, tmp_path):
    """A column missing, landmarks that are not finite, names outside the set, a split that doesn't exist."""
    whole = pd.read_parquet(seeds / "set" / "metadata.parquet")
    wrong = {
        "landmarks": [np.full(136, np.nan)] * 2,
        "attributes": [["x"] * 40] * 2,
        "file": ["../../etc/passwd"] * 2,
        "split": [1, 2],
    }
    tables = [whole.drop(columns="file"), *(whole.assign(**{name: values}) for name, values in wrong.items())]
    for table in tables:
        path = fuzzing.lay_out(tmp_path, seeds, seeds / "set" / "metadata.parquet", b"")
        table.to_parquet(path)
        assert_refused(path, tmp_path)
    for name, text in {
        "celeba/list_eval_partition.txt": "000001.jpg 3\n",
        "celeba/list_landmarks_align_celeba.txt": "1\na b\n000001.jpg 1 nan\n",
        "celeba/list_attr_celeba.txt": "1\nYoung\n000001.jpg 1\n",
        "vggface2/loose_landmark_train.csv": "NAME_ID,a\nn000002/0001_01,x\n",
        "celebamask_hq/CelebA-HQ-to-CelebA-mapping.txt": "idx orig\nx y\n",
        "ffhq/ffhq-dataset-v2.json": '{"0": {"image": {"face_landmarks": [[1, 2]]}}}',
        "classes/labels/classes.csv": "a,b\n1,2\n",
    }.items():
        path = fuzzing.lay_out(tmp_path, seeds, seeds / "layout" / name, text.encode())
        assert_refused(path, tmp_path)


def test_arrays_of_objects_and_yaml_of_objects_get_a_sentence(seeds, tmp_path):
    path = fuzzing.lay_out(tmp_path, seeds, seeds / "arrays" / "arrays.npz", b"")
    np.savez(path, pictures=np.array([{}], object), weights=np.zeros(3))
    assert_refused(path, tmp_path)
    np.savez(path, pictures=np.zeros(3))
    assert_refused(path, tmp_path)
    for text in ("!!python/object/apply:os.system [true]", "[" * 5000, "- a", "00_toy: {count: x}", "a: *b"):
        path = fuzzing.lay_out(tmp_path, seeds, seeds / "preset/presets/toy.yaml", text.encode())
        assert_refused(path, tmp_path)
        path = fuzzing.lay_out(tmp_path, seeds, seeds / "weights_card/own.md", f"---\n{text}\n---\n".encode())
        assert_refused(path, tmp_path)


# ---------------------------------------------------------------------------------------------- commands


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    from skimage.data import astronaut

    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    Image.fromarray(astronaut()[:300, 60:360]).save(path)
    return path


SWAP = ["swap", "PHOTO", "PHOTO", "-o", "OUT"]
WORDS = {
    "swap source": ["swap", "FILE", "PHOTO", "-o", "OUT"],
    "swap target": ["swap", "PHOTO", "FILE", "-o", "OUT"],
    "swap weights": [*SWAP, "--family", "rsgan", "--weights", "FILE"],
    "swap drive": [*SWAP, "--drive", "FILE"],
    "swap also": [*SWAP, "--also", "FILE"],
    "swap other": [*SWAP, "--faces", "all", "--other", "FILE"],
    "swap face": [*SWAP, "--face", "FILE"],
    "swap parser": [*SWAP, "--family", "e4s", "--preset", "smoke", "--parser", "FILE"],
    "faces": ["faces", "FILE", "-o", "OUT"],
    "prepare": ["prepare", "FILE", "OUT", "--jobs", "1"],
    "train data": ["train", "rsgan", "--preset", "smoke", "--data", "FILE", "-o", "OUT"],
    "train start": ["train", "rsgan", "--preset", "smoke", "--data", "SET", "--start", "FILE", "-o", "OUT"],
    "evaluate data": ["evaluate", "--data", "FILE", "-o", "OUT"],
    "evaluate judge": ["evaluate", "--judge", "identity=FILE", "-o", "OUT"],
    "run data": ["run", "50", "--data", "FILE", "--dry-run"],
    "run weights": ["run", "25", "--set", "weights=FILE", "--dry-run"],
    "benchmark run": ["benchmark", "run", "FILE", "OUT"],
    "benchmark score": ["benchmark", "score", "FILE", "OUT", "-o", "OUT"],
    "release": ["release", "rsgan", "demo", "FILE"],
    "import": ["import", "FILE", "-o", "OUT"],
}
"""Commands that take files from elsewhere; FILE is the damaged one."""


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("damage", ["missing", "empty", "web page", "random"])
def test_commands_refuse_damaged_files(words, damage, photo, seeds, tmp_path):
    path = tmp_path / "damaged.pth"
    if damage != "missing":
        path.write_bytes(DAMAGED[damage](bytes(999)))
    out = tmp_path / "out.png"
    places = {"FILE": path, "PHOTO": photo, "OUT": out, "SET": seeds / "set"}
    result = CliRunner().invoke(cli.app, [re.sub("^FILE$|(?<==)FILE$|^[A-Z]+$", lambda m: str(places[m[0]]), word)
                                          for word in words])  # fmt: skip
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1, result.output
    assert_sentence(result.stderr.strip().splitlines()[-1], "damaged.pth")
    assert result.stderr.startswith("swaplib: ")
    assert not out.is_file()


class Drawing(families.kind("landmarks")):
    """Draws what it is told to, whatever it sees."""

    drawn = 0.0

    def decode(self, codes):
        return torch.full_like(super().decode(codes), self.drawn)


@pytest.mark.parametrize("ending", [".png", ".mp4"])
def test_a_swap_exits_with_0_only_after_a_finite_change(ending, photo, tmp_path, monkeypatch):
    target, out = photo, tmp_path / f"out{ending}"
    before = np.asarray(Image.open(photo))
    if ending == ".mp4":
        target = tmp_path / "target.mp4"
        files.write(target, [before[:, ::-1]] * 3, 10)
    blue = tmp_path / "blue.png"
    Image.fromarray(before[..., ::-1]).save(blue)

    def call(family: families.Family) -> tuple[int, str]:
        monkeypatch.setattr(families, "load", lambda *_, **__: family)
        result = CliRunner().invoke(cli.app, ["swap", str(blue), str(target), "-o", str(out)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stderr.strip().splitlines()[-1] if result.exit_code else ""

    still, drawing = families.build("target"), Drawing(families.build("landmarks").config)
    drawing.drawn = torch.nan
    for family, cause in ((still, "stays as it is"), (drawing, "not finite")):
        code, text = call(family)
        assert code == 1
        assert cause in text
        assert_sentence(text, target.name, "these photographs", "this video")
        assert not out.exists()
    drawing.drawn = 0.5
    for family in (drawing, families.build("landmarks")):
        assert call(family) == (0, "")
        after = next(files.frames(out)) if ending == ".mp4" else np.asarray(Image.open(out))
        then = next(files.frames(target)) if ending == ".mp4" else before
        assert after.shape == then.shape
        assert np.abs(after.astype(int) - then).max(-1).mean() > 1
        out.unlink()
