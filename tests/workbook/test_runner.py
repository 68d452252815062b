"""workbook.py: parameters are checked before anything runs; errors name notebook, cell and cause."""

from __future__ import annotations

import json
import os

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from swaplib.figures import saving
from swaplib.workbook import runner
from swaplib.workbook.runner import Parameter, WorkbookError, convert, fits

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
PARAMETERS = """preset: str = "demo"  # size of everything, as in --set preset=demo
seed: int = 0
rate: float = 0.5
names: list[str] = ["a"]"""


def write(folder, name, *cells, parameters=PARAMETERS):
    first = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    heading = new_markdown_cell(f"# {name.title()}\n\nOne sentence.\n\n[next](20_second.ipynb)")
    notebook = new_notebook(cells=[heading, first, *map(new_code_cell, cells)], metadata=KERNEL)
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SWAPLIB_FIGURES", str(tmp_path / "figures"))
    folder = tmp_path / "clone" / "notebooks"
    (folder / "presets").mkdir(parents=True)
    (folder / "presets" / "demo.yaml").write_text("")
    (folder / "presets" / "smoke.yaml").write_text("10_first: {preset: smoke, seed: 4}\n")
    write(folder, "10_first", "print('seed', seed, preset)", "assert seed < 9, 'too large a seed'")
    write(folder, "20_second", "print(rate)")
    return folder


def outputs(path):
    cells = nbformat.read(path, as_version=4).cells
    return "".join(out.text for cell in cells if cell.cell_type == "code" for out in cell.outputs if "text" in out)


# ---------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (1, "int", True), (True, "int", False), (1.0, "int", False), ("1", "int", False),
        (1, "float", True), (1.5, "float", True), (True, "float", False), ("1e-4", "float", False),
        (True, "bool", True), (1, "bool", False), ("a", "str", True), (None, "str", False),
        (["a"], "list[str]", True), (["a", 1], "list[str]", False), ("a", "list[str]", False),
        (None, "int | None", True), (3, "int | None", True), ("x", "int | None", False),
        ({"a": 1}, "dict[str, int]", True), ({"a": "b"}, "dict[str, int]", False),
    ],
)  # fmt: skip
def test_types_are_strict(value, annotation, expected):
    assert fits(value, annotation) is expected


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("3", "int", 3), ("1e-4", "float", 1e-4), ("001", "str", "001"), ("true", "bool", True),
        ("False", "bool", False),
        ("['a', 'b']", "list[str]", ["a", "b"]), ("[2, 3]", "list[int]", [2, 3]), ("none", "int | None", None),
    ],
)  # fmt: skip
def test_text_takes_the_type_of_its_parameter(text, annotation, value):
    got = convert(text, Parameter("x", annotation, None))
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(("text", "annotation"), [("x", "int"), ("1.5", "int"), ("1", "bool"), ("a,b", "list[str]")])
def test_text_of_another_type_is_refused(text, annotation):
    with pytest.raises(WorkbookError, match=r"x must be .*, got"):
        convert(text, Parameter("x", annotation, None))


def test_parameters_are_read_from_the_tagged_cell(folder):
    found = runner.parameters(folder / "10_first.ipynb")
    assert found["seed"] == Parameter("seed", "int", 0)
    assert found["preset"] == Parameter("preset", "str", "demo", "size of everything, as in --set preset=demo")
    assert found["names"].default == ["a"]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("seed = 0", "is no parameter"),
        ("seed: int = 2 + len('a')", "a literal"),
        ("seed.x: int = 0", "is no parameter"),
        ("seed: int = (", "30_sloppy.ipynb: its cell of parameters isn't Python"),
        ("seed: int = \\0", "isn't Python"),
    ],
)
def test_sloppy_parameter_cells_are_refused(folder, cell, message):
    with pytest.raises(WorkbookError, match=message):
        runner.parameters(write(folder, "30_sloppy", parameters=cell))


def test_choose_by_name_number_and_path(folder):
    stems = [path.stem for path in runner.choose(["20", "notebooks/10_first.ipynb"], folder)]
    assert stems == ["10_first", "20_second"]
    assert len(runner.choose([], folder)) == 2
    with pytest.raises(WorkbookError, match="no notebook '5': choose from 10_first, 20_second"):
        runner.choose(["5"], folder)


def test_settings_go_where_the_parameter_is(folder):
    write(folder, "30_other", parameters="count: int = 1")
    plan = runner.settings(runner.choose([], folder), "smoke", {"seed": "7"}, folder)
    assert plan == {"10_first": {"preset": "smoke", "seed": 7}, "20_second": {"seed": 7}, "30_other": {}}


@pytest.mark.parametrize(
    ("preset", "values", "message"),
    [
        ("demo", {"sede": 1}, "no notebook of this run has a parameter 'sede'"),
        ("demo", {"seed": "x"}, "seed must be int"),
        ("demo", {"seed": 1.5}, "wants seed: int, got 1.5"),
        ("huge", {}, "no preset 'huge': choose from demo, smoke"),
    ],
)
def test_wrong_parameters_stop_the_run_before_it_starts(folder, tmp_path, preset, values, message):
    with pytest.raises(WorkbookError, match=message):
        runner.run([], preset, values, folder=folder, out=tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("40_lost: {seed: 1}", "'40_lost', which does not exist"),
        ("10_first: {sede: 1}", "no parameter 'sede'"),
        ("10_first: {rate: 1e-4}", "wants rate: float, got '1e-4'"),  # YAML 1.1 reads that as text
    ],
)
def test_presets_are_checked_against_the_notebooks(folder, text, message):
    (folder / "presets" / "paper.yaml").write_text(text)
    with pytest.raises(WorkbookError, match=message):
        runner.load_preset("paper", folder)


# ---------------------------------------------------------------------------------------------- running


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A smoke run of three notebooks, the middle one saving a table."""
    base = tmp_path_factory.mktemp("run")
    folder = base / "notebooks"
    (folder / "presets").mkdir(parents=True)
    (folder / "presets" / "smoke.yaml").write_text("10_first: {preset: smoke, seed: 4}\n")
    write(folder, "10_first", "print('seed', seed, preset)")
    save = (
        "import pandas as pd\nfrom swaplib import figures\n_ = figures.save_table(pd.DataFrame({'x': [seed]}), 'a/b')"
    )
    write(folder, "20_second", save)
    (folder / "solutions").mkdir()
    first = new_notebook(cells=[new_markdown_cell("Solutions of [the first](../10_first.ipynb).")], metadata=KERNEL)
    nbformat.write(first, folder / "solutions" / "10_first.ipynb")
    before = {path: path.read_bytes() for path in folder.glob("*.ipynb")}
    report = runner.run([], "smoke", {"seed": 5}, folder=folder, out=base / "out", progress=False)
    return folder, before, report


def test_run_leaves_the_notebooks_alone_and_sets_the_parameters(done):
    folder, before, report = done
    assert {path: path.read_bytes() for path in folder.glob("*.ipynb")} == before
    assert outputs(report.out / "notebooks/10_first.ipynb") == "seed 5 smoke\n"
    assert set(report.seconds) == {"10_first", "20_second"}


def test_run_keeps_its_figures_apart_and_knows_their_notebook(done):
    _, _, report = done
    assert report.figures == report.out / "figures"
    entry = json.loads((report.figures / "manifest.json").read_text())["a/b"]
    assert entry["notebook"] == "20_second"
    assert entry["parameters"] == {"preset": "demo", "seed": 5, "rate": 0.5, "names": ["a"]}
    assert "(a/b.csv)" in (report.figures / "README.md").read_text()
    assert "SWAPLIB_RUN" not in os.environ


def test_run_writes_a_manifest(done):
    folder, _, report = done
    manifest = json.loads((report.out / "manifest.json").read_text())
    assert manifest["preset"] == "smoke"
    first = manifest["notebooks"]["10_first"]
    assert first["parameters"]["seed"] == 5
    assert first["sha256"] == runner.sha256(folder / "10_first.ipynb")
    assert first["versions"]["swaplib"]


def test_a_run_makes_an_html_copy_of_what_it_ran(done):
    _, _, report = done
    assert '<a href="10_first.html">' in report.index.read_text()
    assert "seed 5 smoke" in (report.out / "html/10_first.html").read_text()
    assert "<td" in (report.out / "html/figures/README.html").read_text()


def test_a_failing_cell_is_named_and_stops_the_run(folder, tmp_path):
    with pytest.raises(WorkbookError) as caught:
        runner.run([], "demo", {"seed": 9}, folder=folder, out=tmp_path / "out", progress=False, jobs=1)
    message = str(caught.value)
    for part in ("10_first", "assert seed < 9", "AssertionError: too large a seed"):
        assert part in message
    assert outputs(tmp_path / "out/notebooks/10_first.ipynb").startswith("seed 9")
    assert not (tmp_path / "out/notebooks/20_second.ipynb").exists()


MEET = """
import os, time
from pathlib import Path
Path("HERE/" + str(seed)).touch()
end = time.monotonic() + 60
while len(list(Path("HERE").glob("[0-9]"))) < 2:
    assert time.monotonic() < end, "the other one never came"
    time.sleep(0.05)
print("threads", os.environ.get("OMP_NUM_THREADS"))
"""


def test_notebooks_run_side_by_side_with_a_thread_each_and_the_index_last(folder, tmp_path, capsys):
    meet = MEET.replace("HERE", tmp_path.as_posix())
    for number in (1, 2):
        write(folder, f"{number}0_{'first' if number == 1 else 'second'}", meet, parameters=f"seed: int = {number}")
    count = f"from pathlib import Path; print(len(list(Path({str(tmp_path)!r}).glob('[0-9]'))), 'came first')"
    write(folder, "90_index", count)
    report = runner.run([], folder=folder, out=tmp_path / "out", jobs=2)
    assert list(report.seconds) == ["10_first", "20_second", "90_index"]
    texts = [outputs(tmp_path / "out/notebooks" / f"{name}.ipynb") for name in report.seconds]
    assert texts == ["threads 1\n", "threads 1\n", "2 came first\n"]
    told = [line.split()[0] for line in capsys.readouterr().err.splitlines() if line.startswith(("10", "20"))]
    assert told == ["10_first", "20_second"]


def test_a_failing_cell_among_several_stops_the_run(folder, tmp_path):
    with pytest.raises(WorkbookError, match=r"10_first, cell 4 .*too large a seed"):
        runner.run([], values={"seed": 9}, folder=folder, out=tmp_path / "out", jobs=2, progress=False)


def test_update_puts_clean_executed_notebooks_back(folder, tmp_path):
    runner.run(["20"], update=True, folder=folder, out=tmp_path / "out", progress=False)
    notebook = nbformat.read(folder / "20_second.ipynb", as_version=4)
    assert outputs(folder / "20_second.ipynb") == "0.5\n"
    assert "papermill" not in notebook.metadata
    assert all("papermill" not in cell.metadata for cell in notebook.cells)
    assert [cell.metadata.get("tags") for cell in notebook.cells] == [None, ["parameters"], None]


def test_update_refuses_other_parameters_and_heavy_outputs(folder, tmp_path):
    with pytest.raises(WorkbookError, match="only a plain demo run"):
        runner.run([], "demo", {"seed": 1}, update=True, folder=folder)
    heavy = write(folder, "30_heavy", "print('x' * 700_000)")
    before = heavy.read_bytes()
    with pytest.raises(WorkbookError, match=r"30_heavy takes 70\d kB"):
        runner.run(["30"], update=True, folder=folder, out=tmp_path / "out", progress=False)
    assert heavy.read_bytes() == before


SAVING = """import pandas as pd
from swaplib import figures
from swaplib.workbook import claims
_ = figures.save_table(pd.DataFrame({'x': [seed]}), 'a/b')
claims.record('R1', {'swaps in which dlib finds a face': seed}, pairs=1)"""


def snapshot(root):
    """All files that git would look at, with their times."""
    files = [file for file in root.rglob("*") if file.is_file() and file.suffix != ".lock"]
    return {file: file.stat().st_mtime_ns for file in files if file.relative_to(root).parts[0] != "build"}


def test_a_run_leaves_the_checkout_alone_and_an_update_renews_what_changed(folder, monkeypatch):
    clone = folder.parent
    monkeypatch.delenv("SWAPLIB_FIGURES")
    monkeypatch.setattr(saving, "checkout", lambda: clone)
    monkeypatch.setattr(runner, "checkout", lambda: clone)
    write(folder, "20_second", SAVING)
    (clone / "figures").mkdir()
    before = snapshot(clone)
    report = runner.run(["20"], progress=False)
    assert report.figures == clone / "build" / "figures"
    assert (report.figures / "a/b.csv").exists()
    assert report.renewed == []
    assert snapshot(clone) == before

    assert runner.run(["20"], update=True, progress=False).renewed == ["20_second.ipynb", "claim R1", "a/b"]
    assert "[b](a/b.md) [csv](a/b.csv)" in (clone / "figures/README.md").read_text()
    assert "1 of 37 claims tested" in (clone / "figures/claims.md").read_text()
    before = snapshot(clone)
    assert runner.run(["20"], update=True, progress=False).renewed == []
    assert snapshot(clone) == before
