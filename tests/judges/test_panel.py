"""What judges say of swaps: distances to the right ones, relative ones, poses by landmarks, the overall score."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from swaplib import judges, metrics, synthetic
from swaplib.judges import panel
from swaplib.synthetic import head


@pytest.fixture(scope="module")
def pairs():
    faces = synthetic.faces(4, seed=3, size=64)
    source, target = faces[:2], faces[2:]
    return source, target, synthetic.true_swap(source, target)


@pytest.fixture(autouse=True)
def _small_judges(monkeypatch):
    found = {name: judges.build(name, "smoke").freeze() for name in ("identity", "identity_margin", "shape")}
    found["identity_linear"] = judges.build("identity_linear", "smoke").freeze()
    monkeypatch.setattr(panel, "_judge", found.get)


def test_the_source_and_the_target_are_the_ends(pairs):
    source, target, truth = pairs
    of_source = panel.judged(source.images, source, target, truth)
    of_target = panel.judged(target.images, source, target, truth)
    for name in ("smooth", "margin", "shape"):
        assert of_source[name].abs().max() < 1e-3, name
        torch.testing.assert_close(of_target[f"{name}_r"], torch.ones(2), atol=1e-3, rtol=0)
    for name in ("expression", "pose"):
        assert of_target[name].abs().max() < 0.1, name
        assert (of_target[f"{name}_r"] < 0.1).all()
        assert (of_source[f"{name}_r"] > 0.9).all()
    assert panel.judged(truth.images, source, target, truth)["perceptual"].abs().max() < 1e-6
    assert set(of_source) | {"pose_marks"} >= set(panel.OVERALL)
    assert set(of_source) <= {metric.name for metric in metrics.METRICS}


def test_without_judges_and_without_truth_there_are_fewer_columns(pairs, monkeypatch):
    source, target, _ = pairs
    assert "perceptual" not in panel.judged(target.images, source, target)
    monkeypatch.setattr(panel, "_judge", lambda name: None)
    assert panel.judged(target.images, source, target) == {}


@given(pitch=st.floats(-15, 15), yaw=st.floats(-35, 35), roll=st.floats(-20, 20))
def test_the_pose_is_found_from_landmarks(pitch, yaw, roll):
    turn = head.rotation(torch.tensor([[pitch, yaw, roll]]))[0].double().numpy()
    flip = np.diag([1.0, -1.0, -1.0])  # a camera's axes
    wanted = flip @ turn @ flip
    points = panel._mean_points() @ wanted.T + np.array([5.0, -3.0, 900.0])
    focal = 128 / 2 / np.tan(np.radians(10))
    marks = np.zeros((68, 2))
    marks[17:] = points[:, :2] / points[:, 2:] * focal + 63.5
    torch.testing.assert_close(torch.tensor(panel.turned(marks, 128)), torch.tensor((yaw, roll)), atol=0.1, rtol=0)


def test_poses_of_rendered_faces_are_about_the_known_ones():
    faces = synthetic.faces(6, seed=8, world="wild", size=128)
    missed = (panel.poses(faces.images) - faces.factors["pose"][:, 1:]).abs()
    assert missed.nanmedian(0).values[0] < 5
    assert missed.nanmedian(0).values[1] < 3
    assert panel.poses(torch.zeros(1, 3, 64, 64)).isnan().all()


def test_the_overall_score_is_the_mean_of_nine_standardised_columns():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.random((6, 9)), columns=list(panel.OVERALL), index=list("abcdef")).assign(psnr=1.0)
    found = panel.overall(table)
    assert found.mean() == pytest.approx(0)
    shifted = table.copy()
    shifted["pose"] = 100 + 7 * shifted["pose"]  # units don't matter
    pd.testing.assert_series_equal(panel.overall(shifted), found)
    # Rows that are left out of the statistics are still scored by them.
    base = table.loc[list("abcde"), list(panel.OVERALL)]
    by_hand = ((table.loc["f", list(panel.OVERALL)] - base.mean()) / base.std(ddof=1)).mean()
    assert panel.overall(table, list("abcde"))["f"] == pytest.approx(by_hand)
