"""The notebooks keep the rules of a good notebook, and run from top to bottom with the smoke preset."""

from __future__ import annotations

import base64
import re
import statistics
from io import BytesIO

import nbformat
import pandas as pd
import pytest
from PIL import Image

from swaplib.workbook import exercise, pages, runner

BOOKS = runner.notebooks()
every = pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)


def cells(book, kind):
    return [cell for cell in nbformat.read(book, as_version=4).cells if cell.cell_type == kind]


def prose(book) -> str:
    return "\n\n".join(cell.source for cell in cells(book, "markdown"))


def outputs(book):
    return [output for cell in cells(book, "code") for output in cell.outputs]


def test_the_workbook_has_its_notebooks():
    assert {"00_start", "01_sliders", "10_prepare_faces", "50_compare", "90_paper_figures"} <= {
        book.stem for book in BOOKS
    }


def test_the_page_for_teachers_places_every_lesson():
    page = runner.root() / "docs" / "teaching.md"
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    assert all((page.parent / link).exists() for link in links)
    assert {book.name for book in BOOKS} <= {link.split("/")[-1] for link in links}


@every
def test_opening(book):
    first = cells(book, "markdown")[0].source
    assert re.match(rf"# {int(book.stem[:2])} · \w", first), "title with the notebook's number"
    _, sentence = pages.headline(book)
    assert len(sentence.split()) > 8
    for part in ("**What you will learn**", "**Needs**", "**Runtime**", ".ipynb)"):
        assert part in first
    assert len(re.findall(r"^- ", first, re.MULTILINE)) == 3
    assert re.search(r"\*\*Runtime\*\* [^.]*\d", first), "a measured time"


@every
def test_navigation_follows_the_order(book):
    position = BOOKS.index(book)
    for step in (-1, 1):
        if 0 <= position + step < len(BOOKS):
            assert f"({BOOKS[position + step].name})" in cells(book, "markdown")[0].source
    for link in re.findall(r"\]\(([^)]+)\)", prose(book)):
        assert link.startswith("https://") or (book.parent / link).exists(), link


@every
def test_parameters_come_first_and_are_annotated_literals(book):
    tags = [cell.metadata.get("tags", []) for cell in cells(book, "code")]
    assert "parameters" in tags[0]
    assert sum("parameters" in cell for cell in tags) == 1
    for parameter in runner.parameters(book).values():
        assert runner.fits(parameter.default, parameter.annotation), parameter
        assert parameter.help, f"{parameter.name} needs a comment that says what it is"


@every
def test_cells_are_small_and_prose_is_plenty(book):
    sizes = [len(cell.source.splitlines()) for cell in cells(book, "code")]
    assert statistics.median(sizes) <= 6
    assert max(sizes) <= 20
    assert sizes[1] <= 14, "set-up: imports and one call"
    assert len(re.findall(r"\w+", prose(book))) >= 250
    source = "\n".join(cell.source for cell in cells(book, "code"))
    assert not re.search(r"\b(sys\.path|os\.chdir|import \*)", source), "no path tricks in a notebook"
    for built in re.findall(r"class (\w+)\(nn\.Module\)", source):
        assert re.search(rf"\b{built}\(", source.split(f"class {built}(")[1]), f"{built} is built and never used"
        assert "torch.testing.assert_close(" in source, "what a lesson builds equals the library's"


@every
def test_faces_are_wide_enough_to_be_recognised(book):
    """Of 96 pixels at least, and no row wider than a page, which would be drawn smaller."""
    code = "\n".join(cell.source for cell in cells(book, "code"))
    sizes = re.findall(r"\bsize=(\d\.\d+|\d)\b", code)
    assert [size for size in sizes if float(size) < 0.96] == []
    previews = [data for output in outputs(book) for kind, data in output.get("data", {}).items() if "image/" in kind]
    assert [width for data in previews if (width := Image.open(BytesIO(base64.b64decode(data))).width) > 1160] == []


@every
def test_the_systems_are_built_and_trained_in_sight(book):
    if not book.stem.startswith("2"):
        return
    source = "\n".join(cell.source for cell in cells(book, "code"))
    assert "torch.testing.assert_close(" in source, "what a lesson builds equals the library's"
    assert ".backward()" in source, "a training step that one can see"


@every
def test_three_exercises_ask_without_telling_and_the_end_tells_what_failed(book):
    text = prose(book)
    assert [int(number) for number in re.findall(r"^\*\*(\d)\. ", text, re.MULTILINE)] == [1, 2, 3]
    asked = [cell for cell in cells(book, "code") if "exercise.check(" in cell.source]
    names = [name for name in exercise.CHECKS if name.startswith(f"{book.stem[:2]}/")]
    assert len(asked) == len(names) == 3
    for cell, name in zip(asked, names, strict=True):
        assert f'exercise.check("{name}", ' in cell.source
        assert "..." in cell.source, "the answer is the reader's to give"
        assert [output.text for output in cell.outputs] == [f"{name} · not answered yet\n"]
    assert f"(solutions/{book.name})" in text
    for part in ("## Recap", "**What failed.**", "**Papers.**"):
        assert part in text
    assert not re.search(r"^[A-Z]+\d?$|TODO", text, re.MULTILINE), "a word in capitals that stands for a text to come"


@every
def test_committed_executed_with_small_clean_outputs(book):
    assert book.stat().st_size <= runner.MAX_BYTES
    counts = [cell.execution_count for cell in cells(book, "code")]
    assert counts == list(range(1, len(counts) + 1)), "run from top to bottom"
    for output in outputs(book):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.get("text", "")[:200]
        assert "image/png" not in output.get("data", {}), "previews are JPEG"
    text = book.read_text()
    assert "papermill" not in text
    assert "jupyter.widget" not in text, "readers without a kernel see a still picture instead"
    assert not re.search(r'"(/home|/root|/tmp|/work)/', text)


@every
def test_previews_are_sound_pictures(book):
    shown = [output.data["image/jpeg"] for output in outputs(book) if "image/jpeg" in output.get("data", {})]
    assert shown, "a notebook without a picture"
    for code in shown:
        with Image.open(BytesIO(base64.b64decode(code))) as image:
            assert min(image.size) > 50
            assert any(high - low > 60 for low, high in image.getextrema()), "an empty picture"


def test_prose_of_the_comparison_agrees_with_its_numbers():
    """What 50_compare says in words about its tables, checked on the committed tables."""
    folder = runner.root() / "figures" / "compare"
    seen = pd.read_csv(folder / "what_metrics_see.csv", index_col=0)
    assert (seen.psnr[["shifted 2 px", "brighter"]] < seen.psnr["blurred"]).all()
    assert seen.ms_ssim["brighter"] > seen.ms_ssim["blurred"] > seen.ms_ssim["shifted 2 px"]
    assert (seen.to_source[["shifted 2 px", "brighter"]] < 1.3 * seen.to_source["nothing"]).all()
    assert 0 < seen.to_source["nothing"] < seen.to_source["blurred"]
    assert seen.to_source["half source"] < 0.6 * seen.to_source["blurred"]
    assert seen.psnr["the target"] > seen.psnr["the source"]
    assert seen.psnr_face["the target"] < seen.psnr_face["the source"]
    for count, name in ((24, "table_24"), (500, "comparison_500")):
        table = pd.read_csv(folder / f"{name}.csv", index_col=0)
        assert (table.pairs == count).all()
        assert abs(table.psnr_face["landmarks"] - table.psnr_face["target"]) < 1.5
        assert table.to_source["true swap"] < table.to_source["landmarks"] < table.to_source["target"]


@pytest.mark.parametrize("preset", runner.PRESETS)
def test_presets_fit_the_notebooks(preset):
    plan = runner.settings(BOOKS, preset)
    assert set(plan) == {book.stem for book in BOOKS}


@every
def test_runs_with_the_smoke_preset(book, tmp_path):
    committed = [file for name in ("notebooks", "figures") for file in (runner.root() / name).rglob("*")]
    before = {file: file.stat().st_mtime_ns for file in committed if file.is_file()}
    report = runner.run([book.stem], "smoke", out=tmp_path, progress=False)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert report.figures == tmp_path / "figures"
    assert (report.figures / "README.md").exists()
    for name in re.findall(
        r'figures\.save(?:_table)?\(\w+, "([\w/]+)"', "\n".join(c.source for c in cells(book, "code"))
    ):
        assert any((tmp_path / "figures" / f"{name}.{ending}").exists() for ending in ("jpg", "png", "csv")), name
