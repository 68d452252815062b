"""releasing.py: weights are measured, and go into the place of the released ones with what was measured."""

from __future__ import annotations

import shutil

import pytest
from typer.testing import CliRunner

from swaplib import data, weights
from swaplib.cli import app
from swaplib.families.rsgan import Config
from swaplib.workbook import recipes, releasing


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder whose weights go before the released ones, and are replaced instead of them."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("rsgan", "parser"):
        for kind in ("safetensors", "md"):
            shutil.copy(weights.FOLDER / f"{name}_smoke.{kind}", folder)
    monkeypatch.setenv("SWAPLIB_WEIGHTS", str(folder))
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return data.render(tmp_path_factory.mktemp("data") / "faces", 24, size=64, jobs=1, progress=False)


def test_a_family_is_released_with_its_row_of_the_table(folder, dataset, tmp_path):
    learned = data.open(dataset)
    settings = {"steps": 2, "workers": 1, "device": "cpu", "progress": False}
    for run in ("first", "second"):
        for _ in recipes.follow("rsgan", "smoke", learned, tmp_path / run, **settings):
            pass
    file, released = tmp_path / "rsgan_new.safetensors", folder / "rsgan_smoke.safetensors"
    family, totals = recipes.load_result("rsgan", "smoke", tmp_path / "second")
    weights.save(family, file, weights.Card("faces", hardware="none", command="none", licence="CC0", **totals))
    before = weights.read_card(released)
    runs = ("--run", tmp_path / "first", "--run", tmp_path / "second")
    done = call("release", "rsgan", "smoke", file, "--pairs", 2, "--size", 64, "--notes", "**Short.**", *runs)
    assert done.exit_code == 0, done.output
    card = weights.read_card(released)
    assert card["sha256"] != before["sha256"]
    assert released.read_bytes() == file.read_bytes(), "others name it by its hash"
    assert set(card["results"]) == {*releasing.COLUMNS, "pairs"}
    assert str(card["steps"]) == "4", "of both runs, a whole number"
    assert weights.read_config(released, recipes.registry("rsgan").kind("rsgan")) == Config.smoke()
    assert released.with_suffix(".md").read_text().endswith("**Short.**\n")
    assert released.with_suffix(".csv").read_text().count("\n") == 5
    assert str(released) in done.output
    if before["results"]:
        assert f"was {before['results']['to_source']}" in done.output


def test_a_judge_is_released_with_its_report(folder, dataset):
    done = call("release", "parser", "smoke", folder / "parser_smoke.safetensors", "--data", dataset)
    assert done.exit_code == 0, done.output
    results = weights.read_card(folder / "parser_smoke.safetensors")["results"]
    assert results
    assert all(key.endswith(", faces") for key in results)


def test_release_answers_with_a_sentence(folder, tmp_path):
    for arguments, words in (
        (("nobody", "demo", tmp_path / "x.safetensors"), "nobody is nothing that learns"),
        (("rsgan", "demo", tmp_path / "x.safetensors"), "x.safetensors: check the path"),
    ):
        done = call("release", *arguments)
        assert done.exit_code == 1
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
