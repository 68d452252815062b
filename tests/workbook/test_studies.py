"""studies.py: variants are trained and measured in turn; a variant that is made again replaces its own results only."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace

import drawn
import numpy as np
import pandas as pd
import pytest

from swaplib import families, provenance, synthetic, weights
from swaplib.families.rsgan import Config
from swaplib.generators.stylegan2 import Config as Generator
from swaplib.workbook import studies

FACES = drawn.faces(8, 64, 0)
PLAIN = {"workers": 1, "precision": "fp32", "device": "cpu"}
SMALL = replace(Config.smoke(), steps=2)
VARIANTS = {"one, λ 1": ("rsgan", SMALL), "two": ("rsgan", replace(SMALL, regional=False))}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / "studies" / "results").mkdir(parents=True)
    monkeypatch.setattr(provenance, "checkout", lambda: tmp_path)
    return tmp_path


def measure(run: studies.Run) -> studies.Found:
    """Train, and tell which seed did it."""
    family, totals = run.train()
    assert not family.training
    picture = np.full((2, 4, 4, 3), run.settings["seed"], np.uint8)
    return studies.Found([{"steps": totals["steps"], "third": 1 / 3 + run.settings["seed"]}], {run.title: picture})


def test_a_variant_made_again_replaces_its_own_results_only(checkout, tmp_path, capsys):
    common = ("toy", VARIANTS, measure, FACES, tmp_path / "runs")
    studies.save_pictures("toy.npz", {"sources": np.zeros(3)})
    studies.make(*common, resume=True, **PLAIN)
    assert (tmp_path / "runs" / "one_latent_1").is_dir()
    shutil.rmtree(tmp_path / "runs" / "one_latent_1")
    studies.make(*common, ["one, λ 1"], seeds=2, resume=True, **PLAIN)
    table = pd.read_csv(studies.results("toy.csv"))
    assert table.to_dict("list") == {
        "variant": ["one, λ 1", "one, λ 1", "two"], "seed": [0, 1, 0], "steps": [2, 2, 2],
        "third": [0.33333, 1.33333, 0.33333],
    }  # fmt: skip
    pictures = np.load(studies.results("toy.npz"))
    assert {name: int(pictures[name].max()) for name in pictures} == {"sources": 0, "one, λ 1": 0, "two": 0}
    assert "two, seed 0: {'steps': 2, 'third': 0.33333}" in capsys.readouterr().out
    assert [path.name for path in (checkout / "studies" / "results").iterdir() if path.name.startswith(".")] == []


def test_rows_of_variants_that_are_no_more_are_dropped(checkout):
    studies.save_rows("toy.csv", "old", [{"value": 1}], ["old"])
    studies.save_rows("toy.csv", "b", [{"value": 0.1}, {"value": 0.2}], "ab")
    studies.save_rows("toy.csv", "a", [{"value": 3}], "ab")
    assert studies.results("toy.csv").read_text().split() == ["variant,seed,value", "a,0,3.0", "b,0,0.1", "b,0,0.2"]
    studies.save_rows("toy.csv", "a", [{"value": 4}], "ab", seed=1)
    studies.save_rows("toy.csv", "b", [{"value": 5}], "ab")
    assert studies.results("toy.csv").read_text().split()[1:] == ["a,0,3.0", "a,1,4.0", "b,0,5.0"]


def test_variants_are_compared_seed_by_seed():
    rows = [("a", 0, 5.0), ("b", 0, 3.0), ("a", 1, 4.0), ("b", 1, 6.0), ("a", 2, 9.0)]
    table = pd.DataFrame(rows, columns=["variant", "seed", "value"])
    assert studies.differences(table, "value", "a", "b").tolist() == [2.0, -2.0], "seed 2 has no b"


def test_an_unknown_variant_is_refused_before_anything_is_trained(checkout, tmp_path):
    with pytest.raises(ValueError, match="toy has no variant 'three': choose from one, λ 1; two"):
        studies.make("toy", VARIANTS, measure, FACES, tmp_path / "runs", ["two", "three"])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("resume", "then"), [(False, "begin again in another folder"), (True, "the same command goes on")]
)
def test_a_signal_ends_a_run_with_a_sentence(tmp_path, resume, then):
    run = studies.Run("one", "rsgan", replace(SMALL, steps=4), FACES, tmp_path, {**PLAIN, "resume": resume})
    steps = run.steps()
    assert next(steps).step == 1
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(SystemExit, match=f"SIGTERM: {then}"):
        next(steps)
    assert run.result()[1]["steps"] == 2, "the step is finished and saved"
    if resume:
        assert run.train()[1]["steps"] == 4
    else:
        with pytest.raises(ValueError, match="choose another folder"):
            run.train()


def test_results_need_a_checkout(checkout, monkeypatch):
    assert studies.results("toy.csv") == checkout / "studies" / "results" / "toy.csv"
    monkeypatch.setattr(provenance, "checkout", lambda: None)
    with pytest.raises(FileNotFoundError, match="studies are part of the checkout: clone swaplib"):
        studies.results("toy.csv")


def test_every_study_states_its_variants_and_how_they_are_measured():
    names = [path.stem for path in (provenance.checkout() / "studies").glob("*.py")]
    assert len(names) == 11
    for name in names:
        study = studies.load(name)
        assert study.VARIANTS, name
        assert all(callable(getattr(study, function)) for function in ("main", "measure")), name


def test_results_that_are_kept_are_those_of_the_variants():
    for name in ("rsgan", "mask_guided", "smooth_swap", "latent_swap", "e4s", "generators"):
        titles = pd.read_csv(studies.results(f"{name}.csv"))["variant"].unique()
        assert list(titles) == list(studies.load(name).VARIANTS), name


def test_a_generator_is_compared_during_its_stages_and_at_the_end(tmp_path, monkeypatch):
    study, small = studies.load("generators"), Generator.smoke()
    monkeypatch.setattr("swaplib.generators.stylegan2.FITTED", 2)
    faces = synthetic.render_faces(8, seed=2, size=64).resize(small.size)
    config = replace(small, steps=4, adversarial=0, pupil=True)
    run = studies.Run("pupil", "stylegan2", config, faces, tmp_path, {"steps": 4, **PLAIN})
    own = study.describe(faces.images)
    found = study.measure(run, own, 0.5, faces, every=1e9)
    assert [row["images"] for row in found.rows] == [16], "only the end of the last stage is due"
    assert set(found.rows[0]) == {"images", "seconds", "frechet", "precision", "recall", "sharpness", "frechet_true"}
    assert all(np.isfinite(value) and value >= 0 for value in found.rows[0].values())
    assert found.pictures["pupil"].shape == (8, small.size, small.size, 3)
    run = replace(run, folder=tmp_path / "often")
    assert [row["images"] for row in study.measure(run, own, 0.5, faces, every=0).rows] == [4, 8, 12, 16]


def test_teachers_that_are_compared_were_trained_alike(tmp_path):
    study = studies.load("smooth_swap")
    with weights.searching(study.gather_teachers(tmp_path / "teachers")):
        smooth, margin = (families.start("smooth_swap", study.VARIANTS[name][1]).embedder for name in
                          ("smooth, 4", "margin, 4"))  # fmt: skip
    assert smooth.sha256 == study.ALIKE
    assert margin.config.size == smooth.config.size == 64
    assert families.start("smooth_swap", study.VARIANTS["smooth, 4"][1]).embedder.sha256 != study.ALIKE


def test_some_systems_of_the_comparison_are_measured_again(tmp_path, monkeypatch):
    """Their rows are replaced where they stand, new ones come last; the others are left alone."""
    study = studies.load("comparison")
    assert set(study.list_systems("smoke", ["rsgan", "landmarks"])) == {
        "landmarks", "rsgan", "rsgan, driven by landmarks", "rsgan, driven exactly", "rsgan, shown the true swap",
    }  # fmt: skip
    promised = {
        name: study.tell_promise(name) for name in ("rsgan", "rsgan, shown the true swap", "rsgan, driven exactly")
    }
    assert list(promised.values()) == ["the source's expression, pose and light", *2 * ["the target's shot"]]
    monkeypatch.setattr(studies, "results", lambda name: tmp_path / name)
    rows = {"rsgan": (6, 1.0), "e4s": (6, 2.0)}
    old = pd.DataFrame.from_dict(rows, "index", columns=["pairs", "psnr"]).rename_axis("system")
    old.to_csv(studies.results("toy.csv"))
    again = pd.DataFrame({"psnr": [3.0, 4.0], "pairs": 6}, ["new", "rsgan"])
    monkeypatch.setattr(study, "measure", lambda *given: again if given[-1] == ["rsgan", "new"] else None)
    monkeypatch.setattr(study.metrics, "table_markdown", lambda *given: "")
    study.main(name="toy", pairs=6, only=["rsgan", "new"])
    found = pd.read_csv(studies.results("toy.csv")).set_index("system")
    assert found["psnr"].to_dict() == {"rsgan": 4.0, "e4s": 2.0, "new": 3.0}
    with pytest.raises(ValueError, match="the table has no system 'new'"):
        study.list_systems("smoke", ["new"])
    with pytest.raises(ValueError, match="the table's rows are of 6 pairs"):
        study.renew(old, again.assign(pairs=5))
