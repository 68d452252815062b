"""Driving faces: by what is known of rendered ones, by landmarks, by the published network."""

from __future__ import annotations

from dataclasses import replace

import drawn
import numpy as np
import pytest
import torch

from swaplib import synthetic
from swaplib.faces import Faces
from swaplib.latent import reenactment
from swaplib.networks.facevid2vid import FaceVid2Vid


@pytest.fixture(scope="module")
def rendered() -> Faces:
    """The same person twice, otherwise posed and lit."""
    return synthetic.render_faces(2, seed=3, size=64, shots=2)


@pytest.fixture(scope="module")
def landmarks() -> reenactment.Landmarks:
    return reenactment.load("landmarks")


def test_identity_returns_the_source():
    faces = drawn.faces(2)
    assert reenactment.load("identity").drive(faces[[0]], faces[[1]]).images.equal(faces[[0]].images)


def test_rendered_faces_take_pose_expression_and_camera_and_nothing_else(rendered):
    source, other = rendered[[0]], rendered[[1]]
    driver = synthetic.render(
        source.factors | {group: other.factors[group] for group in ("expression", "pose", "camera")}, 64
    )
    driven = reenactment.load("rendered").drive(source, other)
    assert torch.equal(driven.images, driver.images)
    assert torch.equal(driven.factors["light"], source.factors["light"])
    assert driven.identity.equal(source.identity)
    with pytest.raises(ValueError, match="only rendered faces"):
        reenactment.load("rendered").drive(replace(source, factors=None), other)


def test_a_thin_plate_moves_points_where_they_should_be():
    rng = np.random.default_rng(0)
    start = rng.uniform(12, 52, (12, 2))
    end = start + rng.uniform(-2, 2, (12, 2))
    where = reenactment.backward_map(start, end, (64, 64), step=1)
    for a, b in zip(start, end, strict=True):
        row, column = np.floor(b[::-1]).astype(int)
        part = b - np.floor(b)
        around = where[row : row + 2, column : column + 2]
        lines = around[0] * (1 - part[1]) + around[1] * part[1]
        np.testing.assert_allclose(lines[0] * (1 - part[0]) + lines[1] * part[0], a, atol=0.4)
    rows, columns = np.indices((64, 64))
    still = reenactment.backward_map(start, start, (64, 64))
    np.testing.assert_allclose(still, np.stack([columns, rows], -1), atol=1e-3)
    assert np.abs(reenactment.backward_map(start, end, (64, 64)) - where).max() < 0.3


def test_a_face_driven_by_itself_stays(landmarks, rendered):
    driven = landmarks.drive(rendered[[0]], rendered[[0]])
    torch.testing.assert_close(driven.landmarks, rendered[[0]].landmarks)
    torch.testing.assert_close(driven.images, rendered[[0]].images, atol=0.02, rtol=0)
    assert torch.equal(driven.labels, rendered[[0]].labels)
    assert driven.factors is None


def test_landmarks_go_where_the_model_says(landmarks):
    """Of a person, turned and smiling otherwise by known angles, they come nearer to what is known."""
    both = synthetic.render_faces(8, seed=3, size=64, shots=2)
    source, driver = both[::2], both[1::2]
    truth = reenactment.load("rendered").drive(source, driver)
    driven = landmarks.drive(source, driver)
    before = (source.landmarks - truth.landmarks)[:, 17:].norm(dim=-1).mean()
    assert (driven.landmarks - truth.landmarks)[:, 17:].norm(dim=-1).mean() < 0.7 * before


def test_landmarks_are_needed(landmarks):
    faces = drawn.faces(1)
    with pytest.raises(ValueError, match=r"needs faces\.landmarks"):
        landmarks.drive(replace(faces, landmarks=None), faces)


def test_the_network_drives_faces_of_any_size():
    torch.manual_seed(0)
    network = FaceVid2Vid(2).eval()
    network.size = 128
    faces = drawn.faces(2, 48)
    driven = reenactment.FaceVid2Vid(network).drive(faces[[0]], faces[[1]])
    assert driven.images.shape == (1, 3, 48, 48)
    assert driven.identity.tolist() == [0]
    assert driven.landmarks is None


@pytest.mark.parametrize("name", ["identity", "rendered", "landmarks"])
def test_every_source_needs_a_driver(name):
    faces = drawn.faces(3)
    with pytest.raises(ValueError, match="2 sources but 1 drivers"):
        reenactment.load(name).drive(faces[:2], faces[2:])


def test_wrong_names_and_missing_files_get_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="unknown reenactor 'magic': choose one of identity"):
        reenactment.load("magic")
    with pytest.raises(FileNotFoundError, match=r"00000189-checkpoint\.pth\.tar"):
        reenactment.load("facevid2vid")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*lost"):
        reenactment.load("facevid2vid", tmp_path / "lost.pth.tar")


def test_rendered_faces_are_driven_at_any_size():
    source, driver = (synthetic.render_faces(1, seed, size=64) for seed in (0, 1))
    small = reenactment.load("rendered").drive(source.resize(32), driver.resize(32))
    large = reenactment.load("rendered").drive(source, driver).resize(32)
    assert small.size == (32, 32)
    assert (small.images - large.images).abs().max() < 1e-5
