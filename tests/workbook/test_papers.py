"""docs/papers.md: every figure that says whose it regenerates has its row there, with its notebook."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from swaplib.workbook import runner

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
TITLES = ("RSGAN", "Mask-Guided Portrait Editing", "Smooth-Swap", "LatentSwap", "E4S")


def rows() -> dict[str, list[list[str]]]:
    """The page's rows by paper, each a list of cells."""
    found, title = {}, ""
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("| ") else []
        if cells and (bold := re.fullmatch(r"\*\*(.+)\*\*", cells[0])):
            title = bold[1]
        elif cells and title:
            found.setdefault(title, []).append(cells)
    return found


def numbers(text: str) -> set[str]:
    """The figures and tables that a text names: "Figs 5 to 7" are three."""
    text = re.sub(r"\b(\d+) to (\d+)\b", lambda m: ", ".join(map(str, range(int(m[1]), int(m[2]) + 1))), text)
    found, kind = set(), ""
    for word in re.findall(r"Figs?|Tables?|appendix|A?\d+", text):
        if word == "appendix":
            found.add(word)
        elif word[0] in "FT":
            kind = word[0]
        elif kind:  # other numbers are those of sections and contributions
            found.add(kind + word)
    return found


def test_the_page_has_the_five_papers_in_full_rows():
    assert tuple(rows()) == TITLES
    assert {len(cells) for found in rows().values() for cells in found} == {7}


@pytest.mark.parametrize("title", TITLES)
def test_every_regenerated_figure_has_its_row(title):
    manifest = json.loads((ROOT / "figures" / "manifest.json").read_text(encoding="utf-8"))
    made = [
        (entry["paper"], entry.get("notebook"))
        for entry in manifest.values()
        if (entry.get("paper") or "").startswith(title)
    ]
    assert made
    for reference, notebook in made:
        for number in numbers(reference.removeprefix(title)):
            fitting = [cells for cells in rows()[title] if number in numbers(cells[0])]
            assert len(fitting) == 1, f"{reference}: {number}"
            assert notebook is None or notebook in fitting[0][2], f"{reference}: {notebook}"


def test_notebooks_and_options_are_there():
    books = {book.stem for book in runner.notebooks()}
    named = {name.strip() for found in rows().values() for cells in found for name in cells[2].split(",")} - {"–"}
    assert named <= books
    assert {book.stem for book in runner.choose(re.findall(r"swaplib run ([\d ]+)", PAGE)[0].split())} <= books
    studies = {path.stem for path in (ROOT / "studies").glob("*.py")}
    assert set(re.findall(r"swaplib study (\w+)", PAGE)) <= studies
