"""preflight.py: what a run takes is known before anything runs."""

from __future__ import annotations

import nbformat
import official
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from typer.testing import CliRunner

from swaplib import families, weights
from swaplib.cli import app
from swaplib.networks.stylegan2 import Generator
from swaplib.workbook import importing, preflight, runner

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
VALUES = {"preset": "official", "names": ["landmarks", "e4s"], "pairs": 24}
PARAMETERS = 'preset: str = "demo"  # which\nnames: list[str] = ["landmarks"]  # which\npairs: int = 24  # how many'


def write(folder, name, *cells, runtime="about 1½ minutes"):
    first = new_markdown_cell(f"# {name}\n\nOne sentence. **Runtime** {runtime} on a CPU core.")
    code = [new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), *map(new_code_cell, cells)]
    nbformat.write(new_notebook(cells=[first, *code], metadata=KERNEL), folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SWAPLIB_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("SWAPLIB_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setattr(preflight, "measure_rate", lambda device: 100.0)
    folder = tmp_path / "clone" / "notebooks"
    (folder / "presets").mkdir(parents=True)
    for preset, text in (
        ("demo", ""),
        ("paper", "10_first: {preset: paper, pairs: 240}\n20_second: {preset: paper}\n"),
    ):
        (folder / "presets" / f"{preset}.yaml").write_text(text)
    return folder


def names(book, **values):
    return [name for _, name in preflight.list_models(book, VALUES | values)]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('families.load("e4s", preset)', ["e4s"]),
        ('generators.load("stylegan2", preset=preset)', ["stylegan2"]),
        ('families.load("e4s", "demo")', []),
        ('families.load("e4s", "photo" if preset == "demo" else preset)', []),
        ('NAMES = ("rsgan", "e4s")\nall = {name: families.load(name, preset) for name in NAMES}', ["rsgan", "e4s"]),
        ('TITLES = {"a": "identity"}\n[judges.load(n, preset) for title, n in TITLES.items()]', ["identity"]),
        ("[families.load(name, preset) for name in names]", ["landmarks", "e4s"]),
        ('for name in ("rsgan",):\n    families.load(name, preset)\nfor name in ("e4s",):\n    print(name)', ["rsgan"]),
        ('[families.load(n, preset) for n in ("target", "e4s") if n in families.ready(preset)]', ["target"]),
        ('[families.load(n, preset) for n in ("rsgan", "e4s") if n in families.ready(preset)]', ["rsgan", "e4s"]),
        ("[families.load(name, preset) for name in families.ready(preset)]", []),
        ("answer = ...\n[families.load(name, preset) for name in answer]", []),
        ('%matplotlib inline\nfamilies.load("rsgan", preset)', ["rsgan"]),
        ('material.load_systems(("target", "e4s"), preset, device)', ["target"]),
        ('NAMES = ("rsgan", "e4s")\nall = material.load_systems(NAMES, preset)', ["rsgan", "e4s"]),
    ],
)
def test_what_a_notebook_loads_is_read_from_its_cells(code, found, folder):
    assert names(write(folder, "10_first", code)) == found


def test_a_file_of_weights_is_for_the_models_that_are_loaded_by_it(folder, tmp_path):
    code = 'families.load("e4s", preset, device, weights)\nfamilies.load("rsgan", preset)'
    assert preflight.list_own(write(folder, "10_first", code), VALUES) == ["e4s"]
    code = 'material.load_systems(("rsgan", "e4s"), preset, device, weights)'
    assert preflight.list_own(write(folder, "10_first", code), VALUES) == ["rsgan", "e4s"]
    file = str(weights.find_released("rsgan", "smoke"))
    assert names(write(folder, "10_first", code), weights=file) == ["rsgan"]


def test_our_own_notebooks_lack_nothing_at_their_own_preset():
    books = runner.choose([])
    usual = {book: {name: one.default for name, one in runner.parameters(book).items()} for book in books}
    loaded = {book.stem: list(preflight.list_models(book, usual[book])) for book in books}
    assert {name for _, name in loaded["25_e4s"]} >= {"e4s", "rsgan", "mask_guided"}
    assert {name for _, name in loaded["11_judges"]} >= {"identity", "parser", "shape"}
    missing = [name for found in loaded.values() for registry, name in found if name not in registry.ready("demo")]
    assert not missing


def test_what_is_missing_says_where_it_is_from_and_what_helps(folder, tmp_path):
    books = [
        write(folder, "10_first", 'families.load("e4s", preset)', 'families.load("rsgan", preset)'),
        write(folder, "20_second", 'generators.load("stylegan2", preset)'),
        write(folder, "30_third", "print(pairs)"),
    ]
    values = {book.stem: VALUES for book in books}
    plan = preflight.check(books, "official", values, {"30_third": "is about rendered faces"})
    assert [one.model for one in plan.missing] == ["e4s", "rsgan", "stylegan2"]
    text = plan.tell()
    for words in (
        "iteration_300000.pt, from e4s2022/e4s", "swaplib import FILE; licence: code MIT; weights not stated",
        "swaplib train rsgan --preset demo", "10_first           e4s, rsgan are missing",
        "30_third           is about rendered faces",
    ):  # fmt: skip
        assert words in text
    assert plan.runs == ()
    network = Generator(32, 256, 16, 16, 16, 2)
    importing.import_file(official.write_rosinality(tmp_path / "550000.pt", network))
    plan = preflight.check(books, "official", values, {})
    assert [one.name for one in plan.runs] == ["20_second", "30_third"]
    assert "together about" in plan.tell()


def test_times_and_memory_grow_with_what_is_asked_for(folder):
    book = write(folder, "10_first", 'families.load("e4s", preset)')
    read = {
        (preset, pairs): preflight.check(
            [book], preset, {book.stem: {**VALUES, "preset": preset, "pairs": pairs}}
        ).lessons[0]
        for preset, pairs in (("smoke", 2), ("demo", 24), ("demo", 240), ("paper", 24), ("paper", 240))
    }
    assert read["demo", 24].seconds == 90
    assert read["smoke", 2].seconds < 90
    assert read["demo", 240].seconds == 900
    assert read["paper", 24].seconds == 90 + 24 * 6 * 455 / 100
    assert read["paper", 240].seconds == 900 + 240 * 6 * 455 / 100
    assert read["paper", 24].gigabytes > read["demo", 24].gigabytes + 4


def test_imported_files_of_another_size_cost_by_their_pixels(folder, tmp_path):
    book = write(folder, "10_first", 'families.load("e4s", preset)', runtime="about 30 seconds")
    importing.import_file(official.write_e4s(tmp_path / "e4s.pt", families.build("e4s", "smoke")))
    (lesson,) = preflight.check([book], "official", {book.stem: VALUES}).runs
    assert lesson.seconds == pytest.approx(30 + 24 * 6 * 455 * (32 / 1024) ** 2 / 100)


def test_a_run_skips_what_it_lacks_and_refuses_what_was_named(folder, tmp_path):
    write(folder, "10_first", 'families.load("e4s", preset)')
    write(folder, "20_second", "print('done', preset)")
    report = runner.run(preset="paper", folder=folder, out=tmp_path / "out", progress=False)
    assert list(report.seconds) == ["20_second"]
    assert [one.name for one in report.plan.lessons if one.skipped] == ["10_first"]
    with pytest.raises(
        runner.WorkbookError,
        match=r"at the preset paper \(10_first: e4s is missing\): e4s_paper\.",
    ):
        runner.run(["10"], preset="paper", folder=folder, out=tmp_path / "out", progress=False)


def test_the_command_line_tells_without_running(tmp_path, monkeypatch):
    monkeypatch.setenv("SWAPLIB_WEIGHTS", str(tmp_path))
    result = CliRunner().invoke(app, ["run", "11", "10", "--preset", "paper", "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "11_judges          identity, identity_linear" in result.stdout
    assert "10_prepare_faces" in result.stdout
    result = CliRunner().invoke(app, ["run", "11", "--preset", "paper"])
    assert result.exit_code == 1
    assert "swaplib run --dry-run lists it all" in result.stderr


def test_a_rate_is_measured():
    assert preflight.measure_rate("cpu", 0.02) > 0.1
