"""What judges say of swaps: distances to the right ones, relative ones; and judges that are handed in."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn

from swaplib import judges, metrics, photos, synthetic
from swaplib.faces import CELEBAMASK_HQ, Faces
from swaplib.judges import Judges, panel, perceptual, registry


def small_judges() -> Judges:
    found = {name: judges.load(name, "smoke").freeze() for name in ("identity", "identity_margin", "shape")}
    distance = perceptual.feature_distance(judges.load("identity_linear", "smoke"))
    embedders = {"smooth": found["identity"], "margin": found["identity_margin"]}
    return Judges(embedders, None, found["shape"], {"perceptual": distance})


SMALL = small_judges()


@pytest.fixture(scope="module")
def pairs():
    faces = synthetic.render_faces(4, seed=3, size=64)
    source, target = faces[:2], faces[2:]
    return source, target, synthetic.true_swap(source, target)


# ---------------------------------------------------------------------------------------------- our own


def test_the_source_and_the_target_are_the_ends(pairs):
    source, target, truth = pairs
    of_source = SMALL.score(source.images, source, target, truth)
    of_target = SMALL.score(target.images, source, target, truth)
    for name in ("smooth", "margin", "shape"):
        assert of_source[name].abs().max() < 1e-3, name
        torch.testing.assert_close(of_target[f"{name}_r"], torch.ones(2), atol=1e-3, rtol=0)
    for name in ("expression", "pose"):
        assert of_target[name].abs().max() < 0.1, name
        assert (of_target[f"{name}_r"] < 0.2).all()
        assert (of_source[f"{name}_r"] > 0.8).all()
    assert SMALL.score(truth.images, source, target, truth)["perceptual"].abs().max() < 1e-6
    assert set(of_source) | {"pose_marks"} >= set(metrics.OVERALL)
    assert set(of_source) <= {metric.name for metric in metrics.METRICS}
    assert SMALL.columns() == ()


def test_without_judges_and_without_truth_there_are_fewer_columns(pairs):
    source, target, truth = pairs
    assert "perceptual" not in SMALL.score(target.images, source, target)
    assert Judges().score(target.images, source, target, truth) == {}
    assert Judges().colours(target.images) == {}


def test_released_judges_are_shared_and_those_without_weights_left_out(tmp_path, monkeypatch):
    one, other = Judges.released("smoke"), Judges.released("smoke")
    assert set(one.embedders) == {"smooth", "margin"}
    assert all(one.embedders[name] is other.embedders[name] for name in one.embedders)
    assert one.embedders["smooth"] is judges.frozen("identity", "smoke")
    assert one.parser is other.parser is judges.frozen("parser", "smoke")
    assert one.shape is other.shape is judges.frozen("shape", "smoke")
    assert one.perceptual["perceptual"].judge is other.perceptual["perceptual"].judge
    monkeypatch.setattr(registry, "frozen", lambda name, preset: judges.ALL._untrained(name, preset))
    assert Judges.released("smoke") == Judges()


def test_judges_travel_to_other_processes(pairs):
    source, target, truth = pairs
    mine = Judges.released("smoke")
    theirs = pickle.loads(pickle.dumps(mine))
    wanted, found = (one.score(truth.images, source, target, truth) for one in (mine, theirs))
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


# ---------------------------------------------------------------------------------------------- handed in


class Embedder(nn.Module):
    """Tells people apart by the colour at the eyes, where the landmarks say that they are."""

    name = "ir_se50"

    def embed(self, faces: Faces) -> torch.Tensor:
        rows = faces.landmarks[:, 36:48].mean(1).long()
        return torch.stack([image[:, y, x] for image, (x, y) in zip(faces.images, rows.tolist(), strict=True)])


class Parser(nn.Module):
    """Takes what is bright for skin."""

    name = "bisenet"

    def parse(self, images: torch.Tensor) -> torch.Tensor:
        return (images.mean(1) > 0).to(torch.uint8) * CELEBAMASK_HQ.index("skin")


class Distance(nn.Module):
    name = "lpips"

    def forward(self, images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        return (images - others).abs().mean((1, 2, 3))


ADDED = ["identity:ir_se50", "identity_r:ir_se50", "parsing:bisenet", "perceptual:lpips"]


@pytest.fixture
def added(monkeypatch) -> Judges:
    holds = {"embedder.pth": Embedder, "parser.pth": Parser, "alexnet.pth": Distance}
    monkeypatch.setattr(registry, "load_official", lambda path: holds[path]())
    return SMALL.with_files(identity="embedder.pth", parser="parser.pth", perceptual="alexnet.pth")


def test_files_add_judges_under_their_networks_names(added, pairs):
    source, target, truth = pairs
    assert SMALL.columns() == ()  # as it was
    assert [column.name for column in added.columns()] == ADDED
    assert [column.better for column in added.columns()] == ["lower", "lower", "higher", "lower"]
    plain, scores = (one.score(truth.images, source, target, truth) for one in (SMALL, added))
    assert set(scores) == {*plain, *ADDED}
    assert all(torch.equal(plain[name], scores[name]) for name in plain)
    at_eyes = Embedder().embed(replace(truth, landmarks=target.landmarks)) - Embedder().embed(source)
    assert torch.equal(scores["identity:ir_se50"], at_eyes.norm(dim=1))
    assert (scores["parsing:bisenet"] == 1).all()
    assert (scores["perceptual:lpips"] == 0).all()
    of_target = added.score(target.images, source, target)
    assert (of_target["identity_r:ir_se50"] == 1).all()
    assert (of_target["parsing:bisenet"] == 1).all()  # without a true swap the target's regions are wanted
    assert "perceptual:lpips" not in of_target
    half = torch.cat([target.images[:, :, :32], -target.images[:, :, 32:]], 2)
    agreed = (Parser().parse(half) == Parser().parse(target.images)).float().mean((1, 2))
    assert torch.equal(added.score(half, source, target)["parsing:bisenet"], agreed)


def test_faces_without_landmarks_get_those_of_the_mean_face(added, pairs):
    source = pairs[0]
    assert torch.equal(added.read(source)["ir_se50"], Embedder().embed(source))
    mean = panel._mean_landmarks((64, 64))
    assert (mean - source.landmarks.mean(0)).norm(dim=1).mean() < 4
    found = added.read(source.images)["ir_se50"]
    assert torch.equal(found, Embedder().embed(replace(source, landmarks=mean.expand(2, -1, -1))))
    # The five points that alignment in portrait framing is made of lie where it puts them.
    again = photos.move(mean, photos.alignment(mean, "portrait", 64))
    torch.testing.assert_close(torch.from_numpy(again).float(), mean, atol=1e-3, rtol=0)


def test_what_does_not_fit_gets_a_remedy(added):
    with pytest.raises(ValueError, match="unknown kind of judge 'beauty': choose one of identity, parser, perceptual"):
        SMALL.with_files(beauty="embedder.pth")
    with pytest.raises(ValueError, match="holds bisenet, which is no judge of identity: give it as parser"):
        SMALL.with_files(identity="parser.pth")
    with pytest.raises(ValueError, match=r"alexnet\.pth holds lpips, which is among the judges already: give it once"):
        added.with_files(perceptual="alexnet.pth")
    with pytest.raises(ValueError, match="can't be called 'pose'"):
        Judges({"pose": Embedder()})


def test_a_published_file_becomes_a_judge(tmp_path, pairs):
    source, target, truth = pairs
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        SMALL.with_files(perceptual=tmp_path / "none.pth")
    network = perceptual.AlexNetDistance()
    torch.save({f"features.{name}": value for name, value in network.features.state_dict().items()},
               tmp_path / "alexnet.pth")  # fmt: skip
    found = pickle.loads(pickle.dumps(SMALL.with_files(perceptual=tmp_path / "alexnet.pth")))
    scores = found.score(truth.images, source, target, truth)
    assert (scores["perceptual:lpips"] == 0).all()
    assert (found.score(target.images, source, target, truth)["perceptual:lpips"] > 0).all()
