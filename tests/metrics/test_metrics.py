"""The measures against other implementations, and the comparison table.

PYTHONPATH=tests python tests/metrics/test_metrics.py    records the table of this machine
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import drawn
import numpy as np
import official
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity
from torch import nn
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
)

from swaplib import data, families, metrics, synthetic
from swaplib.faces import Faces, to_unit
from swaplib.families import Family, Part
from swaplib.judges import Judges, registry, shape_model
from swaplib.metrics import identity, image
from swaplib.metrics import table as tables
from swaplib.synthetic import head

RECORDED = official.FOLDER / "comparison.json"
QUALITY = ["psnr", "psnr_face", "ssim", "ssim_face", "ms_ssim", "ms_ssim_face", "error"]
SCORES = [metric.name for metric in metrics.METRICS if metric.name != "seconds"]
# What judges say is tested in tests/judges/test_panel.py; here they may be missing, as may what dlib doesn't find.
UNSURE = [*metrics.OVERALL, "margin", "margin_r", "shape_true", "perceptual", "to_source", "to_target"]
UNSURE += ["nearer_source"]


@pytest.fixture(scope="module")
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    images = drawn.faces(3, 256, 1).images
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return images, (0.8 * images + 0.1 * noise).clamp(-1, 1)


# ---------------------------------------------------------------------------------------------- measures


def test_psnr_is_torchmetrics(pair):
    a, b = map(to_unit, pair)
    wanted = peak_signal_noise_ratio(a, b, data_range=1.0, reduction="none", dim=(1, 2, 3))
    torch.testing.assert_close(metrics.psnr(*pair), wanted)


def test_ssim_is_that_of_scikit_image_at_its_window(pair):
    for a, b, found in zip(*map(to_unit, pair), metrics.ssim(*pair, taps=11), strict=True):
        wanted = structural_similarity(
            a.numpy(), b.numpy(), data_range=1.0, channel_axis=0, gaussian_weights=True, use_sample_covariance=False
        )
        assert found.item() == pytest.approx(wanted, abs=2e-5)


def test_ssim_is_the_formula_of_its_paper_window_by_window():
    """Wang et al. 2004, eq. 13, over the four whole windows of 7 taps that a picture of 8 pixels holds."""
    a, b = torch.rand(2, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    line = np.exp(-(np.arange(-3, 4) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    found = []
    for c, y, x in np.ndindex(3, 2, 2):
        p, q = (image[0, c, y : y + 7, x : x + 7].numpy() for image in (a, b))
        mp, mq = (window * p).sum(), (window * q).sum()
        vp, vq, cov = (
            (window * (p - mp) ** 2).sum(),
            (window * (q - mq) ** 2).sum(),
            (window * (p - mp) * (q - mq)).sum(),
        )
        found.append((2 * mp * mq + 1e-4) * (2 * cov + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
    assert metrics.ssim(2 * a - 1, 2 * b - 1).item() == pytest.approx(np.mean(found), abs=1e-9)


def test_ms_ssim_is_torchmetrics_at_its_window(pair):
    """With weight 0 on the coarsest scale, where torchmetrics lets windows cross the border."""
    scales = (*image.SCALES[:-1], 0.0)
    a, b = map(to_unit, pair)
    wanted = [
        multiscale_structural_similarity_index_measure(a[k : k + 1], b[k : k + 1], data_range=1.0, betas=scales)
        for k in range(3)
    ]
    found = metrics.ms_ssim(*pair, taps=11, scales=scales)
    torch.testing.assert_close(found, torch.stack(wanted), atol=1e-4, rtol=0)


def test_ms_ssim_of_one_scale_is_ssim(pair):
    torch.testing.assert_close(metrics.ms_ssim(*pair, scales=(1.0,)), metrics.ssim(*pair))


def test_equal_pictures_are_perfect(pair):
    images = pair[0]
    assert torch.equal(metrics.absolute_error(images, images), torch.zeros(3))
    assert torch.isinf(metrics.psnr(images, images)).all()
    torch.testing.assert_close(metrics.ssim(images, images), torch.ones(3))
    torch.testing.assert_close(metrics.ms_ssim(images, images), torch.ones(3))


def test_the_absolute_error_counts_in_a_range_of_one():
    black, white = -torch.ones(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    assert metrics.absolute_error(black, white).item() == 1
    assert metrics.absolute_error(black, black + 0.5).item() == pytest.approx(0.25)


def test_ms_ssim_refuses_small_pictures():
    images = torch.zeros(1, 3, 111, 128)
    with pytest.raises(ValueError, match="too small for 5 scales: 112"):
        metrics.ms_ssim(images, images)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_weights_leave_out_what_lies_outside(seed):
    draw = torch.Generator().manual_seed(seed)
    truth, images = torch.rand(2, 2, 3, 128, 128, generator=draw) * 2 - 1
    weight = torch.zeros(2, 128, 128, dtype=bool)
    weight[:, 30:90, 40:100] = True
    elsewhere = images.clone()
    elsewhere[:, :, :20] = torch.rand(2, 3, 20, 128, generator=draw) * 2 - 1
    for measure in (metrics.absolute_error, metrics.psnr, metrics.ssim):
        torch.testing.assert_close(measure(images, truth, weight), measure(elsewhere, truth, weight))
        assert not torch.allclose(measure(images, truth), measure(elsewhere, truth), atol=1e-6)
    full = torch.ones(2, 128, 128)
    for measure in (metrics.absolute_error, metrics.psnr, metrics.ssim, metrics.ms_ssim):
        torch.testing.assert_close(measure(images, truth, full), measure(images, truth))
        assert torch.isnan(measure(images, truth, 0 * full)).all()


def test_the_face_region_is_the_face():
    labels = torch.arange(19, dtype=torch.uint8).reshape(1, 1, 19)
    found = metrics.face_region(labels)[0, 0].nonzero()[:, 0].tolist()
    assert found == [1, 2, 4, 5, 6, 7, 10, 11, 12]


def test_scores_are_taken_at_128_pixels():
    truth = drawn.faces(2, 128)
    images = drawn.faces(2, 128, 1).images
    small = metrics.score_swaps(Faces(images).resize(64).images, truth)
    again = metrics.score_swaps(Faces(images).resize(64).resize(128).images, truth)
    assert all(torch.equal(small[name], again[name]) for name in QUALITY)


# ---------------------------------------------------------------------------------------------- self-consistency


@dataclass(frozen=True)
class _Config:
    size: int = 64


class _Halves(Family):
    """The left half of the picture is one part, the right half another: its swap undoes itself exactly."""

    name = "halves"
    Config = _Config
    swap_parts = ("left",)
    parts = (Part("left", (3, 64, 32), "image"), Part("right", (3, 64, 32), "image"))

    def encode(self, faces):
        left, right = faces.images.chunk(2, -1)
        return {"left": left, "right": right}

    def decode(self, codes):
        return torch.cat((codes["left"], codes["right"]), -1)


def test_a_swap_that_undoes_itself_is_consistent():
    faces, others = drawn.faces(2, 64, 1), drawn.faces(2, 64, 2)
    scores = metrics.self_consistency(_Halves(_Config()), faces, others)
    assert torch.equal(scores["twice_error"], torch.zeros(2))
    assert torch.equal(scores["reconstruction_error"], torch.zeros(2))
    torch.testing.assert_close(scores["twice_ms_ssim"], torch.ones(2))


def test_swapping_twice_with_the_classical_swap_loses_a_little():
    both = synthetic.render_faces(4, seed=1, size=128)
    faces, others = both[:2], both[2:]
    scores = metrics.self_consistency(families.load("landmarks"), faces, others)
    change = metrics.absolute_error(families.load("landmarks").swap(others, faces), faces.images)
    assert (scores["reconstruction_error"] > 0).all()
    assert (scores["reconstruction_error"] < scores["twice_error"]).all()
    assert (scores["twice_error"] < 0.9 * change).all()


# ---------------------------------------------------------------------------------------------- the table


@pytest.fixture(scope="module", autouse=True)
def _small_chunks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("swaplib.metrics.table.CHUNK", 2)
        yield


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    options = {"jobs": 1, "progress": False, "people": 9, "keep": False}
    return metrics.measure(["target", "landmarks"], pairs=4, seed=5, size=64, **options)


def test_every_pair_is_scored_by_every_system(scores):
    assert set(scores["system"]) == {"source", "true swap", "target", "landmarks"}
    assert (scores.groupby("system")["pair"].apply(list).apply(lambda pairs: pairs == list(range(4)))).all()
    families_only = scores[scores["system"].isin(["target", "landmarks"])]
    assert families_only[SCORES].drop(columns=[*UNSURE, "given"]).notna().all().all()


def test_the_true_swap_is_perfect_and_bounds_the_rest(scores):
    truth = scores[scores["system"] == "true swap"]
    assert (truth["error"] == 0).all()
    assert np.isinf(truth["psnr"]).all()
    np.testing.assert_allclose(truth[["ssim", "ms_ssim", "ssim_face", "ms_ssim_face"]], 1, atol=1e-5)
    source = scores[scores["system"] == "source"]
    assert (source["to_source"] == 0).all()
    target = scores[scores["system"] == "target"]
    assert (target["to_target"] < 1e-12).all()
    assert (target["nearer_source"] == 0).all()
    assert (target["twice_error"] == 0).all()
    assert truth["nearer_source"].mean() > 0.8
    assert target["psnr"].mean() > source["psnr"].mean()
    assert (target["psnr"] < 60).all()


def test_the_numbers_do_not_depend_on_jobs(scores):
    again = metrics.measure(["landmarks"], pairs=4, seed=5, size=64, jobs=2, progress=False, people=9, keep=False)
    mine = scores[scores["system"] == "landmarks"].reset_index(drop=True)
    found = again[again["system"] == "landmarks"].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine.drop(columns="seconds"), found.drop(columns="seconds"), check_exact=True)


def test_scores_are_kept_by_all_that_they_follow_from(scores, tmp_path, monkeypatch):
    monkeypatch.setenv("SWAPLIB_CACHE", str(tmp_path))
    measured = []
    monkeypatch.setattr(
        tables, "_score", lambda family, pairs, real=tables._score: measured.append(1) or real(family, pairs)
    )

    def measure(*names, **options) -> pd.DataFrame:
        measured.clear()
        options = {"pairs": 4, "seed": 5, "size": 64, "jobs": 1, "progress": False, "people": 9} | options
        return metrics.measure(list(names), **options).drop(columns="seconds")

    def count(*names, **options) -> int:
        measure(*names, **options)
        return len(measured)

    for expected in (4, 0):
        assert count("target", "landmarks") == expected
        pd.testing.assert_frame_equal(measure("target", "landmarks"), scores.drop(columns="seconds"), check_exact=True)
    assert count("landmarks", pairs=6) == 1
    assert count("landmarks", "rsgan") == 2
    assert count("landmarks", seed=6) == 2
    assert count("landmarks", judges=Judges()) == 2
    assert count("target", "landmarks", keep=False) == 4


def test_what_a_notebook_defines_is_scored_always(tmp_path, monkeypatch):
    monkeypatch.setenv("SWAPLIB_CACHE", str(tmp_path))

    class Own(type(families.load("target"))):
        def overlay(self, source, target):
            seen.append(len(source))
            return families.Overlay(target.images)

    seen = []
    for _ in range(2):
        metrics.measure(
            {"own": Own(families.load("target").config)}, pairs=2, size=64, jobs=1, progress=False, people=9
        )
    assert len(seen) > 4
    assert len(seen) % 2 == 0


def test_another_seed_gives_other_pairs(scores):
    other = metrics.measure(["target"], pairs=2, seed=6, size=64, jobs=1, progress=False, people=9)
    mine = scores[(scores["system"] == "target") & (scores["pair"] < 2)]
    found = other[other["system"] == "target"]
    assert not np.isclose(mine["psnr"], found["psnr"]).any()


def test_families_are_scored_at_their_own_size():
    table = metrics.evaluate(
        {"halves at 64": _Halves(_Config())}, pairs=2, seed=1, size=96, jobs=1, progress=False, people=9
    )
    assert table.loc["halves at 64", "reconstruction_error"] > 0 or table.loc["halves at 64", "pairs"] == 2
    assert np.isfinite(table.loc["halves at 64", "psnr"])


def test_the_surround_may_be_the_targets():
    kept = metrics.measure(["target"], 2, seed=3, size=64, jobs=1, surround="target", progress=False)
    free = metrics.measure(["target"], 2, seed=3, size=64, jobs=1, surround="rendered", progress=False)
    gain = kept[kept["system"] == "target"]["psnr"].mean() - free[free["system"] == "target"]["psnr"].mean()
    assert gain > 0


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="0 pairs"):
        metrics.measure(["target"], 0)
    with pytest.raises(ValueError, match="unknown family 'nobody'"):
        metrics.measure(["nobody"], 2)
    with pytest.raises(ValueError, match="'true swap' is the name of a bound"):
        metrics.measure({"true swap": _Halves(_Config())}, 2)


def _scores(**columns) -> pd.DataFrame:
    length = len(next(iter(columns.values())))
    return pd.DataFrame({"system": "x", "pair": range(length), **dict.fromkeys(SCORES, 0.0), "seconds": 0.1} | columns)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for k in range(200):
        row = metrics.summarise(_scores(psnr=rng.normal(20, 3, 60)), seed=k, draws=400).loc["x"]
        hits += row["psnr_low"] <= 20 <= row["psnr_high"]
    assert 0.88 <= hits / 200 <= 0.99


def test_the_summary_states_mean_and_spread_and_leaves_out_missing_values():
    values = np.array([1.0, 2.0, 3.0, np.nan])
    row = metrics.summarise(_scores(psnr=values, ssim=np.full(4, np.nan), ms_ssim=np.full(4, np.inf))).loc["x"]
    assert row["psnr"] == 2
    assert row["psnr_std"] == 1
    assert 1 <= row["psnr_low"] < 2 < row["psnr_high"] <= 3
    assert np.isnan(row["ssim"])
    assert np.isinf(row["ms_ssim"])
    assert row["pairs"] == 4


def test_the_markdown_shows_what_the_table_holds(scores):
    table = metrics.summarise(scores)
    text = metrics.table_markdown(table, ["psnr", "twice_error"])
    lines = text.splitlines()
    assert lines[0] == "| | PSNR ↑ | twice error ↓ |"
    cells = {line.split("|")[1].strip(): line for line in lines[2:6]}
    row = table.loc["landmarks"]
    assert f"{row['psnr']:.2f} ± {(row['psnr_high'] - row['psnr_low']) / 2:.2f}" in cells["landmarks"]
    assert "∞" in cells["true swap"]
    assert "–" in cells["true swap"]
    assert "pairs 4, seed 5, size 64, world calm" in text
    assert metrics.table_markdown(table).count("\n- ") == table[list(tables.NAMES)].notna().any().sum()
    with pytest.raises(ValueError, match="unknown metric 'beauty'"):
        metrics.table_markdown(table, ["beauty"])


def test_swapped_pictures_forget_whose_they_were():
    """Otherwise a family could read the target's identity, or render from its factors."""
    seen = []

    class Spy(_Halves):
        def encode(self, faces):
            seen.append(faces)
            return super().encode(faces)

    faces = replace(drawn.faces(2, 64, 1), factors={"shape": torch.zeros(2, 3)})
    metrics.self_consistency(Spy(_Config()), faces, faces)
    again = [f for f in seen if f.factors is None]
    assert len(again) == 2
    assert all(f.identity is None and f.attributes is None and f.landmarks is not None for f in again)


def test_a_swapped_picture_has_the_landmarks_that_are_found_in_it():
    both = synthetic.render_faces(4, seed=1, size=128)
    shown, other = both[:2], both[2:]
    record = identity._as_photograph(shown.images, other)  # what is seen, not what the target's record says
    eyes = (shown.landmarks[:, 36:48] - shown.landmarks[:, 36:48].mean(1, keepdim=True)).norm(dim=-1).mean()
    assert (record.landmarks - shown.landmarks).norm(dim=-1).mean() < 0.2 * eyes
    assert record.attributes is None
    small = identity._as_photograph(shown.resize(64).images, other.resize(64))
    assert (small.landmarks - shown.resize(64).landmarks).norm(dim=-1).mean() < 0.2 * eyes / 2
    blank = identity._as_photograph(torch.zeros(2, 3, 128, 128), other)
    assert torch.equal(blank.landmarks, other.landmarks)


def test_the_pairs_are_those_of_the_renderer_however_many(scores):
    both = synthetic.render_faces(4, seed=5, start=metrics.HELD_OUT, size=64)
    expected = metrics.score_swaps(both[1::2].images, synthetic.true_swap(both[::2], both[1::2]))["psnr"]
    for found in (scores, metrics.measure(["target"], 2, seed=5, size=64, jobs=1, progress=False, people=9)):
        np.testing.assert_allclose(found[found["system"] == "target"]["psnr"][:2], expected, rtol=1e-4)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A prepared data set; that its pictures are rendered, measuring doesn't know."""
    return data.open(data.render(tmp_path_factory.mktemp("faces") / "calm", 6, size=64, jobs=1, progress=False))


def test_photographs_have_everything_but_a_truth(photographs):
    options = {"size": 64, "jobs": 1, "progress": False, "photographs": photographs}
    scores = metrics.measure(["target"], 4, seed=5, **options)
    assert scores.system.unique().tolist() == ["source", "target"]
    rows = scores.query("system == 'target'")
    assert rows[["psnr", "ssim_face", "error"]].isna().to_numpy().all()
    assert (rows.reconstruction_error == 0).all()
    assert (rows.to_target < rows.to_source).all()
    table = metrics.summarise(scores)
    assert "photographs calm" in metrics.table_markdown(table, ["to_source"])
    text = metrics.table_markdown(table.drop(index=["source"]), ["psnr_face", "to_source"])
    assert "Left out, since photographs have no true swap: PSNR face." in text
    assert text.startswith("| | id. to source ↓ |")
    text = metrics.table_markdown(table).splitlines()
    left = next(line for line in text if line.startswith("Left out")).split(": ")[1].removesuffix(".").split(", ")
    assert {"PSNR", "SSIM", "skin", "gaze"} < set(left)
    assert not {title.strip(" ↑↓") for title in text[0].split("|")} & set(left)
    first = metrics.measure(["target"], 2, seed=5, **options).query("system == 'target'")
    pd.testing.assert_frame_equal(first.drop(columns="seconds"), rows[:2].drop(columns="seconds"))


def test_photographs_are_paired_across_people(photographs):
    couples = tables._couples(photographs, 200, seed=1)
    assert couples.shape == (200, 2)
    subjects = photographs.metadata.subject.to_numpy()
    assert (subjects[couples[:, 0]] != subjects[couples[:, 1]]).all()
    with pytest.raises(ValueError, match="no two people"):
        tables._couples(photographs.where(np.arange(6) == 0), 2, seed=1)


# ---------------------------------------------------------------------------------------------- judges


def comparison() -> pd.DataFrame:
    found = metrics.measure(["landmarks"], pairs=3, seed=0, size=128, jobs=1, progress=False, people=9).drop(
        columns="seconds"
    )
    found.attrs = {}
    return found


def test_the_table_is_as_recorded(monkeypatch):
    """To the last bit where processor and versions are those of the recording."""
    monkeypatch.setattr(tables, "CHUNK", 10)
    recorded = json.loads(RECORDED.read_text())
    wanted = pd.DataFrame(recorded["rows"]).astype({"pair": int}).fillna(np.nan)
    tolerances = {} if official.describe_machine() == recorded["machine"] else {"rtol": 0.05, "atol": 0.05}
    pd.testing.assert_frame_equal(
        comparison(), wanted, check_exact=not tolerances, check_dtype=False, check_index_type=False, **tolerances
    )


class _Brightness(nn.Module):
    """An embedder, a parser and a distance in one."""

    def embed(self, faces):
        return torch.stack([faces.images.mean((1, 2, 3)), torch.ones(len(faces))], 1)

    def parse(self, images):
        return (images.mean(1) > 0).to(torch.uint8)

    def forward(self, images, others):
        return (images - others).square().mean((1, 2, 3))


class _Held(_Brightness):
    name = "ir_se50"


def test_judges_that_are_handed_in_are_further_columns(monkeypatch, tmp_path, scores):
    monkeypatch.setattr(registry, "load_official", lambda path: _Held())
    chosen = Judges.released().with_files(identity="model_ir_se50.pth")
    chosen = replace(chosen, parsers={"mine": _Held()}, perceptual={**chosen.perceptual, "mine": _Held()})
    added = ["identity:ir_se50", "identity_r:ir_se50", "parsing:mine", "perceptual:mine"]
    found = metrics.measure(
        ["target", "landmarks"], 4, seed=5, size=64, jobs=2, progress=False, people=9, judges=chosen
    )
    assert list(found.columns) == [*scores.columns, *added]
    pd.testing.assert_frame_equal(
        found[scores.columns].drop(columns="seconds"), scores.drop(columns="seconds"), check_exact=True
    )
    assert found[added].notna().all().all()
    table = metrics.summarise(found)
    assert table.loc["true swap", "parsing:mine"] == 1
    assert table.loc["true swap", "perceptual:mine"] == 0
    assert table.loc["target", "identity_r:ir_se50"] == 1
    assert {f"{name}_{what}" for name in added for what in ("std", "low", "high")} <= set(table.columns)
    table.to_csv(tmp_path / "table.csv")
    for shown in (table, pd.read_csv(tmp_path / "table.csv", index_col=0)):
        lines = metrics.table_markdown(shown).splitlines()
        assert lines[0].endswith("| id. ir_se50 ↓ | id. ir_se50-R ↓ | parsing mine ↑ | perceptual mine ↓ |")
        assert lines[-4] == "- id. ir_se50: distance of ir_se50's vectors, to the source"
        assert lines[-1] == "- perceptual mine: mine's distance to the true swap"
        assert metrics.table_markdown(shown, ["parsing:mine"]).startswith("| | parsing mine ↑ |")


def test_without_judges_their_columns_are_empty():
    found = metrics.measure(["target"], 2, seed=5, size=64, jobs=1, progress=False, people=9, judges=Judges())
    assert found[["smooth", "shape", "perceptual"]].isna().all().all()
    assert found["psnr"].notna().all()


@given(pitch=st.floats(-15, 15), yaw=st.floats(-35, 35), roll=st.floats(-20, 20))
def test_the_pose_is_found_from_landmarks(pitch, yaw, roll):
    turn = head.rotation(torch.tensor([[pitch, yaw, roll]]))[0].double().numpy()
    flip = np.diag([1.0, -1.0, -1.0])  # a camera's axes
    points = (shape_model.find_mean_landmarks() @ flip) @ (flip @ turn @ flip).T + np.array([5.0, -3.0, 900.0])
    focal = 128 / 2 / np.tan(np.radians(10))
    marks = points[:, :2] / points[:, 2:] * focal + 63.5
    found = torch.tensor(metrics.estimate_pose(marks, 128))
    torch.testing.assert_close(found, torch.tensor((yaw, roll)), atol=0.1, rtol=0)
    assert np.isnan(metrics.estimate_pose(np.full((68, 2), np.nan), 128)).all()


def test_poses_of_rendered_faces_are_about_the_known_ones():
    faces = synthetic.render_faces(6, seed=8, world="wild", size=128)
    missed = (metrics.estimate_poses(faces.images) - faces.factors["pose"][:, 1:]).abs()
    assert missed.nanmedian(0).values[0] < 5
    assert missed.nanmedian(0).values[1] < 3
    assert metrics.estimate_poses(torch.zeros(1, 3, 64, 64)).isnan().all()


def test_the_overall_score_is_the_mean_of_nine_standardised_columns():
    rng = np.random.default_rng(0)
    nine = list(metrics.OVERALL)
    table = pd.DataFrame(rng.random((6, 9)), columns=nine, index=list("abcdef")).assign(psnr=1.0)
    found = metrics.score_overall(table)
    assert found.mean() == pytest.approx(0)
    shifted = table.copy()
    shifted["pose"] = 100 + 7 * shifted["pose"]  # units don't matter
    pd.testing.assert_series_equal(metrics.score_overall(shifted), found)
    # Rows that are left out of the statistics are still scored by them.
    base = table.loc[list("abcde"), nine]
    by_hand = ((table.loc["f", nine] - base.mean()) / base.std(ddof=1)).mean()
    assert metrics.score_overall(table, list("abcde"))["f"] == pytest.approx(by_hand)


def test_teachers_dont_score_their_own_pupils():
    assert metrics.list_taught("smooth_swap") == ("smooth", "smooth_r")
    assert set(metrics.list_taught("latent_swap, W+")) >= {"smooth", "shape", "pose"}
    assert metrics.list_taught("landmarks") == metrics.list_taught("true swap") == ()
    names = ["landmarks", "rsgan", "smooth_swap"]
    table = pd.DataFrame(np.random.default_rng(1).random((3, 9)), columns=list(metrics.OVERALL), index=names)
    pleased = table.copy()
    pleased.loc["smooth_swap", "smooth"] -= 10
    scores = (table - table.mean()) / table.std(ddof=1)
    found = metrics.score_overall(table)
    assert found["rsgan"] == pytest.approx(scores.loc["rsgan"].mean())
    assert found["smooth_swap"] == pytest.approx(scores.loc["smooth_swap"].drop(["smooth", "smooth_r"]).mean())
    assert metrics.score_overall(pleased)["smooth_swap"] == pytest.approx(found["smooth_swap"])


if __name__ == "__main__":
    lines = ",\n".join(f"  {json.dumps(row)}" for row in comparison().to_dict("records"))
    RECORDED.write_text(f'{{"machine": {json.dumps(official.describe_machine())}, "rows": [\n{lines}\n]}}\n')
