"""The benchmark in folders: what is exported, what is scored, and what is said of pictures that don't fit."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from swaplib import benchmark, families, metrics, synthetic
from swaplib.benchmark import folders
from swaplib.faces import to_uint8
from swaplib.judges import Judges

QUICK = {"jobs": 1, "progress": False}
FEW = {**QUICK, "people": 9}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    benchmark.export(folder, "calm", 4, 128, **QUICK)
    return folder


@pytest.fixture(scope="module")
def swaps(pairs, tmp_path_factory):
    return benchmark.run(families.load("landmarks"), pairs, tmp_path_factory.mktemp("landmarks"), progress=False)


def picture(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


# -------------------------------------------------------------------------------------------------------- folders


def test_pairs_are_pictures_and_the_truth_lies_apart(pairs):
    card = benchmark.read_card(pairs)
    assert (card.set, card.size, card.seed, len(card.pairs)) == ("calm", 128, 0, 4)
    assert card.names == ["00000", "00001", "00002", "00003"]
    both = synthetic.render_faces(4, 0, metrics.HELD_OUT, "calm", 128)
    assert np.array_equal(picture(pairs / "source/00001.png"), to_uint8(both.images)[2])
    assert np.array_equal(picture(pairs / "target/00001.png"), to_uint8(both.images)[3])
    truth = synthetic.true_swap(both[[2]], both[[3]])
    assert np.array_equal(picture(pairs / "truth/00001.png"), to_uint8(truth.images)[0])
    marks = Image.open(pairs / "truth/00001.png").text
    assert any("digitalsourcetype" in text.lower() for text in marks.values())
    assert {entry.name for entry in pairs.iterdir()} == {"source", "target", "truth", "card.json"}


def test_more_pairs_begin_with_the_same_ones_and_other_pairs_are_refused(pairs, tmp_path):
    few = benchmark.export(tmp_path, "calm", 2, 128, **QUICK)
    assert few.pairs == benchmark.read_card(pairs).pairs[:2]
    assert few.digest != benchmark.read_card(pairs).digest
    more = benchmark.export(tmp_path, "calm", 4, 128, **QUICK)
    assert more.digest == benchmark.read_card(pairs).digest
    with pytest.raises(FileExistsError, match="holds pairs of calm, 128 px, seed 0"):
        benchmark.export(tmp_path, "wild", 2, 128, **QUICK)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"size": 64}, {"size": 600}])
def test_impossible_pairs_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="1 pair or more, and 128 to 512 px"):
        benchmark.export(tmp_path, **wrong)
    with pytest.raises(ValueError, match="unknown set 'mild': choose one of calm, wild"):
        benchmark.export(tmp_path, "mild")


def test_folders_without_pairs_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no card\.json"):
        benchmark.read_card(tmp_path)
    (tmp_path / "card.json").write_text(json.dumps({"set": "calm"}))
    with pytest.raises(ValueError, match=r"card\.json is damaged \(it has no size\): export them again"):
        benchmark.read_card(tmp_path)


def test_pairs_of_another_renderer_are_refused(pairs, tmp_path):
    text = (pairs / "card.json").read_text()
    sha = benchmark.read_card(pairs).pairs[2]["sha256"]["truth"]
    (tmp_path / "card.json").write_text(text.replace(sha, sha[::-1]).replace(synthetic.RENDERER, "0.9"))
    with pytest.raises(ValueError, match=r"pair 00002 looks different here: it was exported by renderer 0\.9"):
        folders.draw_again(benchmark.read_card(tmp_path), [2])


# ----------------------------------------------------------------------------------------------------------- swaps


def test_a_family_fills_a_folder_and_goes_on_where_it_was(pairs, swaps):
    assert sorted(path.name for path in swaps.iterdir()) == [f"0000{k}.png" for k in range(4)]
    drawn = metrics.draw_pairs("calm", range(4), 128)
    expected = families.load("landmarks").swap(drawn.source, drawn.target)
    assert np.array_equal(picture(swaps / "00002.png"), to_uint8(expected)[2])
    kept = (swaps / "00002.png").stat().st_mtime_ns
    (swaps / "00001.png").unlink()
    benchmark.run(families.load("landmarks"), pairs, swaps, progress=False)
    assert (swaps / "00001.png").exists()
    assert (swaps / "00002.png").stat().st_mtime_ns == kept


def test_a_family_may_get_pictures_alone(pairs, tmp_path, monkeypatch):
    seen = []

    class Spy(type(families.load("target"))):
        def overlay(self, source, target, amounts=None):
            seen.append((source, target))
            return families.Overlay(target.images)

    benchmark.run(Spy(families.load("target").config), pairs, tmp_path, bare=True, progress=False)
    for faces in seen[0]:
        assert (faces.labels, faces.factors, faces.attributes, faces.identity) == (None,) * 4
    known = metrics.draw_pairs("calm", range(4), 128).source.landmarks
    gap = (seen[0][0].landmarks - known).norm(dim=-1).mean()
    assert 0 < gap < 4


def test_the_table_is_that_of_families_in_memory(pairs, swaps):
    """The pictures have 256 levels, else nothing differs."""
    report = benchmark.score(pairs, {"landmarks": swaps}, **FEW)
    here = metrics.measure(["target", "landmarks"], 4, 0, 128, progress=False, jobs=1, people=9)
    assert list(report.summary.index) == ["source", "target", "true swap", "landmarks"]
    for system in ("source", "target", "true swap", "landmarks"):
        for column in ("psnr_face", "ssim", "to_source", "nearer_source", "smooth_cosine", "skin", "top_5"):
            found, wanted = (one[one["system"] == system][column].to_numpy() for one in (report.scores, here))
            np.testing.assert_allclose(found, wanted, rtol=0.02, atol=0.02, err_msg=f"{system} {column}")
    assert report.trouble == {}
    assert report.summary.loc["true swap", "frechet"] == pytest.approx(0, abs=1e-3)
    assert report.summary.loc["target", "frechet"] > 0
    assert (report.summary["given"] == 1).all()


def test_missing_broken_and_resized_pictures_are_counted_and_named(pairs, swaps, tmp_path):
    for path in swaps.iterdir():
        Image.open(path).save(tmp_path / path.name)
    (tmp_path / "00000.png").unlink()
    (tmp_path / "00001.png").write_bytes((tmp_path / "00001.png").read_bytes()[:400])
    Image.open(tmp_path / "00002.png").resize((200, 200)).save(tmp_path / "00002.webp", quality=95)
    (tmp_path / "00002.png").unlink()
    report = benchmark.score(pairs, {"mine": tmp_path, "whole": swaps}, **FEW)
    assert report.trouble == {"mine": {"00000": "missing", "00001": "broken", "00002": "resized"}}
    assert report.summary.loc["mine", "given"] == 0.5
    mine, whole = (report.scores[report.scores["system"] == name] for name in ("mine", "whole"))
    assert mine["psnr"].isna().tolist() == [True, True, False, False]
    assert mine["psnr"].iloc[3] == whole["psnr"].iloc[3]
    assert mine["psnr"].iloc[2] == pytest.approx(whole["psnr"].iloc[2], abs=1)
    told = report.tell()
    assert "mine: 1 missing (00000). mine: 1 broken (00001). mine: 1 resized (00002)." in told


def test_an_outside_script_of_twenty_lines_can_enter(pairs, tmp_path):
    """As a stranger would write it: nothing of swaplib, only the pictures."""
    script = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image, ImageDraw, ImageFilter
pairs, out = map(Path, sys.argv[1:])
out.mkdir(exist_ok=True)
for path in sorted((pairs / "source").glob("*.png")):
    source = Image.open(path).convert("RGB")
    target = Image.open(pairs / "target" / path.name).convert("RGB")
    w, h = target.size
    mask = Image.new("L", (w, h))
    ImageDraw.Draw(mask).ellipse([0.3 * w, 0.3 * h, 0.7 * w, 0.8 * h], fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(0.03 * w))
    Image.composite(source, target, mask).save(out / path.name)
"""
    import subprocess
    import sys

    subprocess.run([sys.executable, "-c", script, str(pairs), str(tmp_path / "out")], check=True)
    report = benchmark.score(pairs, {"ellipse": tmp_path / "out"}, **FEW)
    assert report.trouble == {}
    row = report.summary.loc["ellipse"]
    assert row["to_source"] < report.summary.loc["target", "to_source"]
    assert row["psnr"] > report.summary.loc["source", "psnr"]


@pytest.mark.parametrize(
    ("names", "message"),
    [({"target": "."}, "is a row of every table"), ({"x": "nowhere"}, "there is no folder nowhere"),
     ({"x": "."}, "has no swap of these pairs: its files must be called 00000.png")],
)  # fmt: skip
def test_folders_that_cant_be_scored_are_refused(pairs, names, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        benchmark.score(pairs, names, **FEW)


def test_differences_are_taken_pair_by_pair(pairs, swaps, tmp_path):
    report = benchmark.score(pairs, {"landmarks": swaps}, Judges(), **FEW)
    gaps = report.compare("target").set_index(["system", "metric"])
    wide = report.scores.pivot(index="pair", columns="system", values="psnr_face")
    gap = wide["landmarks"] - wide["target"]
    row = gaps.loc["landmarks", "psnr_face"]
    assert row["difference"] == pytest.approx(gap.mean())
    assert row["low"] <= row["difference"] <= row["high"]
    assert row["better"] == (gap > 0).mean()
    assert ("target", "psnr_face") not in gaps.index
    with pytest.raises(ValueError, match="'rsgan' is no row of the table: choose one of source, target, true swap"):
        report.compare("rsgan")
    page = report.save(tmp_path / "report", "source")
    assert {path.name for path in page.parent.iterdir()} == {
        "scores.csv", "table.csv", "table.md", "differences.csv", "index.html",
    }  # fmt: skip
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 4
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert "Differences to “source”" in text
    assert len(pd.read_csv(page.parent / "scores.csv")) == 4 * 4


# ---------------------------------------------------------------------------------------------------------- clips


def test_clips_tell_how_steady_the_person_is(tmp_path):
    """One person's frames are nearer to each other than frames of which every other one shows somebody else."""
    frames = metrics.SETS["clips"].frames
    card = benchmark.export(tmp_path / "pairs", "clips", 4, 128, **QUICK)
    assert frames > 4
    for name, mixed in (("steady", False), ("mixed", True)):
        (tmp_path / name).mkdir()
        for row, pair in enumerate(card.names):
            role = "target" if mixed and row % 2 else "truth"
            (tmp_path / name / f"{pair}.png").write_bytes((tmp_path / "pairs" / role / f"{pair}.png").read_bytes())
    report = benchmark.score(tmp_path / "pairs", {name: tmp_path / name for name in ("steady", "mixed")}, **FEW)
    spread = report.summary["identity_spread"]
    assert spread["steady"] == pytest.approx(spread["true swap"], rel=0.2)  # landmarks are the target's
    assert spread["mixed"] > 2 * spread["steady"]
    assert "id. spread in clips" in report.save(tmp_path / "out").read_text("utf-8")
