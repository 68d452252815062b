"""catalogue.py: each row's Python runs and fills what the row says; the tables show the rows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from swaplib import families, generators, judges, latent
from swaplib.latent import reenactment
from swaplib.weights import filling, published

FOLDER = Path(__file__).parents[2]
NAMES = [row.name for row in published.OFFICIAL]


@pytest.mark.parametrize("row", published.OFFICIAL, ids=NAMES)
def test_the_python_of_a_row_fills_what_it_says(row, monkeypatch):
    filled = []
    monkeypatch.setattr(filling, "fill", lambda model, path: filled.append(model.name))
    monkeypatch.setattr(filling, "recognise", lambda path, candidates: {name: name for name in candidates}[row.name])
    known = published.Networks({row.name: torch.nn.Identity()}, "file")
    shown = SimpleNamespace(OFFICIAL=published.OFFICIAL, load_official=lambda path: filled.append(row.name) or known)
    monkeypatch.setattr(reenactment, "published", shown)
    with torch.device("meta"):  # the paper's sizes
        generator = generators.build("stylegan2", "paper")
        names = {"families": families, "generators": generators, "judges": judges, "latent": latent}
        found = eval(row.load, names | {"published": shown, "generator": generator})
    assert filled == [row.name]
    assert isinstance(found, torch.nn.Module | reenactment.FaceVid2Vid)


def test_all_that_can_be_filled_is_listed():
    assert len(set(NAMES)) == len(NAMES)
    assert set(NAMES) == {*filling.FILLINGS, *published.ENCODERS, "G_ema", "facevid2vid"}
    assert set(judges.PUBLISHED) < set(NAMES)
    fillable = {name for name in families.NAMES if families.kind(name).official}
    assert fillable == set(families.NAMES) & set(NAMES)


def test_the_tables_show_every_row():
    text, table = published.official_text(), published.official_markdown()
    for row in published.OFFICIAL:
        for value in (row.files, row.project, row.size, row.fills, row.licence, row.load):
            assert value
            assert value in text
            assert value in table
    assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_page_is_the_table():
    page = (FOLDER / "docs" / "official_files.md").read_text(encoding="utf-8")
    assert page.endswith(published.official_markdown()), "write it again: see the page's first lines"
