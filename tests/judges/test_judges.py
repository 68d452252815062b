"""Judges: their losses against the official ones, what they answer, and that they can be trained, saved and loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import drawn
import numpy as np
import official
import pytest
import torch
import torchmetrics
from hypothesis import given
from hypothesis import strategies as st

from swaplib import data, judges, provenance, synthetic, weights
from swaplib.faces import BISENET, CELEBAMASK_HQ, Faces
from swaplib.judges import identity, parsing, perceptual, robustness, shape, shape_model, smoothness
from swaplib.judges.augment import augment, occlude
from swaplib.networks.bisenet import BiSeNet
from swaplib.networks.ir_se import IRSE50
from swaplib.synthetic import head
from swaplib.training.loop import restore, train
from swaplib.workbook import recipes

FACES = drawn.faces(8, 64, 0)
PLAIN = {"progress": False, "workers": 1, "precision": "fp32", "device": "cpu"}


@pytest.fixture(scope="module")
def rendered() -> Faces:
    return synthetic.render_faces(8, seed=2, size=64, shots=2)


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> data.Dataset:
    """8 rendered people in two pictures each."""
    folder = tmp_path_factory.mktemp("people") / "set"
    return data.open(data.render(folder, 16, size=64, shots=2, jobs=1, validation=0.3, progress=False))


# ---------------------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", judges.NAMES)
def test_a_judge_learns_and_comes_back_from_its_file(name, people, tmp_path):
    config = replace(judges.config(name, "smoke"), steps=2)
    lesson = judges.kind(name).training_data(config, [people]) or people
    steps = list(recipes.follow(name, config, lesson, tmp_path / "run", steps=2, **PLAIN))
    assert sum(1 for _ in steps) == 2
    judge, totals = recipes.load_result(name, config, tmp_path / "run")
    assert totals["steps"] == 2
    card = weights.Card("drawn", 2, 8, 1.0, "a processor", "none", "none")
    path = weights.save(judge, tmp_path / "judge.safetensors", card)
    again = judges.load(name, file=path)
    images = FACES.images
    with torch.no_grad():
        wanted, found = judge(images), again(images)
    for one, other in zip(*(value.values() if isinstance(value, dict) else [value] for value in (wanted, found)),
                          strict=True):  # fmt: skip
        torch.testing.assert_close(one, other, atol=0.05, rtol=0.05)  # half precision


@pytest.mark.parametrize("name", judges.NAMES)
def test_a_frozen_judge_stays_in_evaluation_mode_and_passes_gradients_on(name):
    judge = judges.build(name, "smoke").freeze()
    judge.train()
    assert not any(module.training for module in judge.modules())
    images = FACES.images.clone().requires_grad_()
    answer = judge(images)
    sum(value.square().sum() for value in (answer.values() if isinstance(answer, dict) else [answer])).backward()
    assert images.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in judge.parameters())


@pytest.mark.parametrize(("name", "count"), [("identity", 26_134_080), ("parser", 1_944_355)])
def test_the_papers_sizes(name, count):
    assert sum(parameter.numel() for parameter in judges.build(name, "paper").parameters()) == count


@pytest.mark.parametrize("name", judges.NAMES)
def test_learning_says_what_it_lacks(name):
    (phase,) = judges.build(name, "smoke").phases()
    with pytest.raises(ValueError, match=r"needs faces\.(identity|labels|landmarks)"):
        phase.losses(Faces(FACES.images))


# ---------------------------------------------------------------------------------------------- identity


def test_contrastive_losses_are_the_published_ones():
    given_, wanted = official.inputs("supcon_loss"), official.expected("supcon_loss")
    codes = torch.cat([given_["feat"][:, k] for k in (0, 1)])
    people = given_["label"].repeat(2)
    found = identity.contrastive_loss(codes, people, 0.07, positives=True)
    torch.testing.assert_close(found, wanted["loss_labels_t007"].to(found), rtol=1e-5, atol=0)
    alone = identity.contrastive_loss(codes, torch.arange(6).repeat(2), 0.5, positives=True)
    torch.testing.assert_close(alone * 0.5 / 0.07, wanted["loss_simclr_t05"].to(found), rtol=1e-5, atol=0)
    single = identity.contrastive_loss(given_["feat"][:, 0], given_["label"], 0.07, positives=True)
    torch.testing.assert_close(single, wanted["loss_single_view_labels"].to(found), rtol=1e-5, atol=1e-6)


def test_both_forms_agree_with_two_pictures_of_each_and_differ_with_four():
    codes = torch.nn.functional.normalize(torch.randn(16, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    two, four = torch.arange(8).repeat(2), torch.arange(4).repeat(4)
    ours, theirs = (identity.contrastive_loss(codes, two, positives=form) for form in (False, True))
    torch.testing.assert_close(ours, theirs)
    ours, theirs = (identity.contrastive_loss(codes, four, positives=form) for form in (False, True))
    assert ours < theirs - 1e-3


def test_contrastive_loss_against_the_formula_written_out():
    codes = torch.nn.functional.normalize(torch.randn(9, 5, generator=torch.Generator().manual_seed(1)), dim=1).double()
    people, tau = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 3]), 0.3
    terms = []
    for i in range(9):
        negatives = sum(torch.exp(codes[i] @ codes[k] / tau) for k in range(9) if people[k] != people[i])
        own = [torch.exp(codes[i] @ codes[k] / tau) for k in range(9) if people[k] == people[i] and k != i]
        terms.append(sum(-torch.log(p / (p + negatives)) for p in own) / max(len(own), 1))
    torch.testing.assert_close(identity.contrastive_loss(codes, people, tau), torch.as_tensor(sum(terms) / 9))


def test_the_margin_is_arcfaces():
    given_, wanted = official.inputs("arcface_head"), official.expected("arcface_head")
    found = identity.margin_logits(given_["emb"], given_["kernel"], given_["label"].long())
    torch.testing.assert_close(found[:7], wanted["logits"][:7], atol=1e-4, rtol=0)
    torch.testing.assert_close(found[7], wanted["logits"][7], atol=0.1, rtol=0)  # on its centre: the root of nearly 0


def test_embeddings_have_unit_length_at_any_size():
    for name in ("identity", "identity_margin"):
        judge = judges.build(name, "smoke").eval()
        for size in (32, 50):
            codes = judge.embed(FACES.resize(size))
            torch.testing.assert_close(codes.norm(dim=1), torch.ones(8))


def test_people_are_told_apart_after_a_few_steps(people):
    """A tiny overfit: pictures of one person end up nearer than pictures of two."""
    judge = judges.build("identity", "smoke", seed=1)
    shots = data.Shots([people], 2)
    faces = shots[list(range(len(shots)))].resize(32)
    optimiser = torch.optim.Adam(judge.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        loss = judge.train().phases()[0].losses(faces)["contrast"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_shots_give_all_pictures_of_each_person(people):
    shots = data.Shots([people, people], 2)
    assert (len(shots), shots.people) == (16, 16)  # the same 8 people of two sets are 16
    faces = shots[[0, 8]]
    assert faces.identity.tolist() == [0, 0, 8, 8]
    assert torch.equal(faces.images[:2], faces.images[2:])
    whole = data.Shots([people], 3)[list(range(8))]
    assert torch.equal(whole.images[2], whole.images[0])  # two pictures fill three places


def test_relatives_share_a_skin_and_come_together(tmp_path):
    relatives = data.render(tmp_path / "set", 16, size=64, shots=2, relatives=2, jobs=1, validation=0, progress=False)
    relatives = data.open(relatives)
    faces = relatives[list(range(16))]
    skins, heads = (faces.factors[group].reshape(4, 2, 2, -1) for group in ("skin", "shape"))  # family, person, shot
    assert torch.equal(skins, skins[:, :1, :1].expand_as(skins))
    assert torch.equal(heads, heads[:, :, :1].expand_as(heads))
    assert (heads[:, 0, 0] != heads[:, 1, 0]).any(1).all()
    assert len(skins[:, 0, 0].unique(dim=0)) == 4
    assert relatives.card["what"] == "faces of renderer 2.0, calm world, 2 of each person, 2 people to a skin"

    shots = data.Shots([relatives], 2)
    assert (len(shots), shots.people) == (4, 8)
    subjects = ["0", "10", "12", "14", "2", "4", "6", "8"]  # in the order of their numbers
    found = [subjects[k] for k in shots[[1, 3, 0, 2]].identity[::2]]
    assert found == ["10", "8", "4", "6"]  # two families; the others are too many for a batch of four


def test_a_run_counts_all_pictures_of_its_people(people, tmp_path):
    judge, shots = judges.build("identity", "smoke"), data.Shots([people], 2)
    *_, step = train(judge, shots, 3, batch=4, flips=False, folder=tmp_path, progress=False)
    assert step.images == 3 * 4 * 2
    assert restore(judge, tmp_path)["images"] == step.images


def test_the_margin_comes_after_a_stretch_without():
    kind, demo = judges.kind("identity_margin"), judges.config("identity_margin", "demo")
    free, whole = kind.stages(demo)
    assert free.config == replace(demo, margin=0.0)
    assert whole.config == demo
    assert free.share + whole.share == 1
    assert len(kind.stages(judges.config("identity_margin", "paper"))) == 1


def test_rendered_shots_show_one_person(rendered):
    assert rendered.identity.tolist() == [0, 0, 2, 2, 4, 4, 6, 6]
    for group in synthetic.IDENTITY:
        assert torch.equal(rendered.factors[group][0], rendered.factors[group][1])
        assert not torch.equal(rendered.factors[group][0], rendered.factors[group][2])
    assert not torch.equal(rendered.factors["hair"][0], rendered.factors["hair"][1])
    single = synthetic.render_faces(1, seed=2, start=2, size=64)
    assert torch.equal(single.images, rendered.images[[2]])


def test_too_many_people_are_refused(people):
    config = replace(judges.config("identity_linear", "smoke"), people=3)
    with pytest.raises(ValueError, match="8 people, but the config has 3 classes"):
        judges.kind("identity_linear").training_data(config, [people])


def assert_held_still(judge: torch.nn.Module, name: str) -> None:
    assert judge.name == name
    assert isinstance(judge, judges.PUBLISHED.kind(name))
    assert not judge.training
    assert not any(parameter.requires_grad for parameter in judge.parameters())


def test_published_embedders_load(tmp_path):
    network = official.fill(IRSE50(), "ir_se50")
    torch.save(network.state_dict(), tmp_path / "model_ir_se50.pth")
    judge = judges.load_official(tmp_path / "model_ir_se50.pth")
    assert_held_still(judge, "ir_se50")
    faces = official.uniform(12, "face", (2, 3, 112, 112), -1, 1)
    faces[1] = faces[1] * 0.5 + 0.3
    wanted = official.expected("ir_se50")["embedding"]
    torch.testing.assert_close(judge.embed(Faces(faces)), wanted, atol=1e-4, rtol=0)
    embedder = official.fill(identity.LatentSwapEmbedder(), "latentswap_identity_embedder")
    assert sum(parameter.numel() for parameter in embedder.parameters()) == 30_330_432
    state = {f"net.{name}": value for name, value in embedder.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 5}, tmp_path / "epoch=5.ckpt")
    judge = judges.load_official(tmp_path / "epoch=5.ckpt")
    assert_held_still(judge, "latentswap_embedder")
    found = judge.embed(Faces(official.uniform(5, "image", (2, 3, 256, 256), 0, 1) * 2 - 1))
    wanted = official.expected("latentswap_identity_embedder")["embedding"]
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match=r"doesn't hold IR-SE50: choose model_ir_se50\.pth of TreB1eN"):
        identity.ArcFace().load_official(tmp_path / "epoch=5.ckpt")


def test_a_file_with_code_is_not_executed(tmp_path):
    torch.save({"state_dict": np.random.default_rng}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="holds code, which swaplib never executes"):
        weights.read_tensors(tmp_path / "bad.pth")
    torch.save({"epoch": 1}, tmp_path / "none.pth")
    with pytest.raises(ValueError, match="holds no tensors"):
        weights.read_tensors(tmp_path / "none.pth")
    with pytest.raises(FileNotFoundError, match="check the path"):
        weights.read_tensors(tmp_path / "absent.pth")


# ---------------------------------------------------------------------------------------------- parsing


def test_scores_of_label_maps():
    truth = torch.tensor([[[0, 0, 1, 1]]])
    found = torch.tensor([[[0, 1, 1, 2]]])
    got = parsing.score_labels(found, truth)
    torch.testing.assert_close(got["iou"][:3], torch.tensor([1 / 2, 1 / 3, 0]).double())
    torch.testing.assert_close(got["f1"][:3], torch.tensor([2 / 3, 1 / 2, 0]).double())
    assert got["iou"][3:].isnan().all()
    assert got["accuracy"] == 0.5


def test_overlap_loss_is_zero_for_the_truth_and_counts_classes_alike():
    labels = torch.zeros(1, 8, 8, dtype=torch.uint8)
    labels[0, 0, 0] = 5
    right = torch.nn.functional.one_hot(labels.long(), 19).movedim(-1, 1).float() * 100
    assert parsing.overlap_loss(right, labels) < 1e-4
    missed = right.clone()
    missed[:, 5] = 0
    missed[:, 0, 0, 0] = 100
    assert parsing.overlap_loss(missed, labels) == pytest.approx(0.5, abs=0.01)  # one of two classes is missed


def test_rare_classes_count_for_more_by_a_power_of_their_share():
    labels = torch.zeros(2, 4, 4, dtype=torch.uint8)
    labels[0, 0, :2] = 5  # a sixteenth of the pixels
    own = parsing.balance_classes(labels, 0.5)
    assert (float(own[5]), float(own[0])) == (4, pytest.approx((16 / 15) ** 0.5))
    assert own.count_nonzero() == 2, "what isn't shown doesn't count"
    each = parsing.balance_classes(labels, 1)
    assert 2 * each[5] == pytest.approx(30 * float(each[0]))  # at a power of 1, all classes weigh the same


def test_the_parser_of_photographs_is_taught_to_see_what_is_rare():
    """At the same logits, a missed class of a few pixels costs more; the other presets count every pixel alike."""
    config = judges.config("parser", "photo")
    assert (config.size, config.balance) == (128, 0.5)
    assert judges.config("parser", "demo").balance == 0
    faces = replace(FACES[:2], labels=torch.zeros(2, *FACES.size, dtype=torch.uint8))
    faces.labels[0, :4, :4] = CELEBAMASK_HQ.index("hat")
    plain = replace(judges.config("parser", "smoke"), size=FACES.size[0])
    lost = []
    for balance in (0.0, 0.5):
        judge = judges.build("parser", replace(plain, balance=balance), 0)
        with torch.no_grad():
            judge.last.weight.zero_()
            judge.last.bias.zero_()
            judge.last.bias[0] = 20  # all is background
        lost.append(judge._losses(faces)["classes"].item())
    assert lost[1] > 10 * lost[0]


def test_half_of_the_balance_is_taken_back_after_training():
    judge = judges.build("parser", replace(judges.config("parser", "smoke"), balance=0.5), 0)
    before = judge.last.bias.detach().clone()
    labels = torch.zeros(1, 32, 32, dtype=torch.uint8)
    labels[0, :8, :8] = 5  # a sixteenth
    judge.on_train_end(Faces(torch.zeros(1, 3, 32, 32), labels=labels))
    lowered = before - judge.last.bias.detach()
    assert lowered[5] == pytest.approx(torch.tensor(16 ** (1 / 4)).log().item(), rel=1e-5)
    assert lowered.count_nonzero() == 2, "what wasn't seen stays"
    plain = judges.load("parser", "smoke")
    before = plain.last.bias.detach().clone()
    plain.on_train_end(Faces(torch.zeros(1, 3, 32, 32), labels=labels))
    assert torch.equal(plain.last.bias, before)


def test_photographs_are_read_by_the_weights_that_know_them(tmp_path):
    card = weights.Card("d", 1, 1, 1.0, "h", "c", "l")
    assert weights.best_for_photographs("shape") == "demo"
    with weights.searching(tmp_path):
        weights.save(judges.load("parser", "smoke"), tmp_path / "parser_photo.safetensors", card)
        assert weights.best_for_photographs("parser") == "photo"
        found = judges.load_for_photographs("parser")
    assert found.config.size == 32


def test_labels_come_at_the_pictures_own_size():
    judge = judges.build("parser", "smoke").eval()
    for size in (32, 48):
        labels = judge.parse(FACES.resize(size).images)
        assert (labels.shape, labels.dtype) == ((8, size, size), torch.uint8)
    assert [tuple(one.shape[1:]) for one in judge.features(FACES.images)] == [
        (4, 32, 32), (8, 16, 16), (16, 8, 8), (32, 4, 4), (64, 2, 2)
    ]  # fmt: skip


def test_probabilities_averaged_over_pictures_give_steady_labels():
    parser = judges.load("parser", "smoke")
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    own = parser.parse(images)
    assert torch.equal(parsing.parse_steadily(parser, images, torch.eye(4)), own)
    assert not torch.equal(own[0], own[1])
    mixed = parsing.parse_steadily(parser, images, torch.ones(4, 4))
    assert torch.equal(mixed[0], mixed[1])
    assert torch.equal(mixed[0], parser(images).softmax(1).mean(0).argmax(0).to(torch.uint8))


def test_what_a_parser_projects_has_its_own_sizes_and_colours():
    parser = judges.load("parser", "smoke")
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    maps = parser.project(images, 32)
    channels, sizes = parser.projected(32)
    assert [one.shape for one in maps] == [(4, wide, side, side) for wide, side in zip(channels, sizes, strict=True)]
    grey = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    assert not torch.allclose(parser.project(grey, 32)[0], maps[0])


def test_the_public_parser_loads_and_answers_in_our_order(tmp_path):
    network = official.fill(BiSeNet(), "bisenet_19")
    torch.save(network.state_dict(), tmp_path / "79999_iter.pth")
    judge = judges.load_official(tmp_path / "79999_iter.pth")
    assert_held_still(judge, "bisenet")
    images = FACES.images[:1]
    ours = judge(images)
    seen = (Faces(images).resize(512).images + 1) / 2
    with torch.no_grad():
        theirs = network((seen - judge.mean) / judge.deviation)
    for name in CELEBAMASK_HQ:
        found, wanted = ours[:, CELEBAMASK_HQ.index(name)], theirs[:, BISENET.index(name)]
        torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-4, msg=name)
    torch.save(IRSE50().state_dict(), tmp_path / "other.pth")
    with pytest.raises(ValueError, match="doesn't hold BiSeNet"):
        parsing.PublicParser().load_official(tmp_path / "other.pth")
    changed = {"cp.resnet.conv1.weight": torch.zeros(64, 1, 7, 7)}
    torch.save(network.state_dict() | changed, tmp_path / "other.pth")
    with pytest.raises(
        ValueError, match=r"but of another build .*network\.cp\.resnet\.conv1\.weight: there 64 x 1 x 7"
    ):
        judges.load_official(tmp_path / "other.pth")


def test_files_of_no_judge_are_refused(tmp_path):
    torch.save({"some.weight": torch.zeros(2)}, tmp_path / "some.pth")
    with pytest.raises(ValueError, match=r"some\.pth fills none of .*ir_se50 \(model_ir_se50\.pth\), .*bisenet"):
        judges.load_official(tmp_path / "some.pth")
    with pytest.raises(FileNotFoundError, match="check the path"):
        judges.load_official(tmp_path / "none.pth")
    torch.save({"state_dict": np.random.default_rng}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="holds code, which swaplib never executes"):
        judges.load_official(tmp_path / "bad.pth")


# ---------------------------------------------------------------------------------------------- shape


def test_the_baked_head_model_covers_the_present_heads():
    """Few components, of the same vertices, describe nearly all of what heads differ in."""
    factors = synthetic.sample_factors(100, seed=9, groups=("shape", "expression"))
    still, moved = shape_model.find_true_points(factors, 256)
    mean, shapes, expressions = shape_model.load_basis(80, 32, 256)
    for points, basis in ((still - mean, shapes), (moved, expressions)):
        codes = torch.linalg.lstsq(basis.flatten(1).T, points.flatten(1).T).solution
        missed = (points.flatten(1) - codes.T @ basis.flatten(1)).unflatten(1, (-1, 3)).norm(dim=-1).mean()
        assert missed < 0.2 * points.norm(dim=-1).mean() + 0.05


@pytest.mark.skipif(synthetic.RENDERER != shape_model.BAKED_OF, reason="baked of earlier heads, which the judge knows")
def test_the_baked_head_model_is_what_sampled_heads_give():
    torch.testing.assert_close(torch.from_numpy(shape_model._file()["spread"]).long(), shape_model.spread_points(256))
    assert shape_model._file()["jaw"].tolist() == shape_model.choose_contour().tolist()
    found = shape_model.find_components()
    for name, values in zip(found, shape_model.load_basis(80, 32, 256), strict=True):
        # The sign of a component is free, and the last ones may turn among themselves.
        mine, baked = torch.from_numpy(found[name]).float()[:20], values[:20]
        torch.testing.assert_close(mine.abs(), baked.abs(), atol=0.02, rtol=0)
    with pytest.raises(ValueError, match="80 shapes"):
        shape_model.load_basis(81, 1, 1)


@pytest.fixture(scope="module")
def judge() -> shape.Shape:
    return judges.build("shape", "smoke").eval()


def test_the_linear_model_holds_rendered_heads(rendered):
    judge = judges.build("shape", "demo")
    still, moved = shape_model.find_true_points(rendered.factors, judge.config.points)

    def project(points, components):
        return torch.linalg.lstsq(components.flatten(1).T, points.flatten(1).T).solution.T

    codes = {"shape": project(still - judge.mean, judge.shapes), "expression": project(moved, judge.expressions)}
    missed = (judge.neutral(codes["shape"]) - still).norm(dim=-1).mean()
    spread = (still - judge.mean).norm(dim=-1).mean()
    assert missed < 0.25 * spread
    assert (judge.displacement(codes["expression"]) - moved).norm(dim=-1).mean() < 0.1
    codes["pose"] = rendered.factors["pose"]
    marks = (rendered.landmarks + 0.5) / 64 * 2 - 1
    codes["camera"] = shape.fit_camera(judge.view(codes)[:, 17:68], marks[:, 17:])
    eyes = (marks[:, 36] - marks[:, 45]).norm(dim=-1)
    nme = (judge.landmarks(codes)[:, 17:] - marks[:, 17:]).norm(dim=-1).mean(1) / eyes
    assert nme.max() < 0.03  # a weak perspective's share


def test_the_camera_is_found_again():
    view = torch.randn(3, 20, 3, generator=torch.Generator().manual_seed(0)) * 30
    wanted = torch.tensor([[0.7, 0.1, -0.2], [0.5, 0.0, 0.3], [0.9, -0.1, 0.0]])
    marks = view[..., :2] * torch.tensor([1.0, -1.0]) / 100 * wanted[:, :1, None] + wanted[:, None, 1:]
    torch.testing.assert_close(shape.fit_camera(view, marks), wanted, atol=1e-5, rtol=0)


@given(angle=st.floats(-40, 40), axis=st.integers(0, 2))
def test_pose_differences_are_angles(judge, angle, axis):
    still = {"shape": torch.zeros(1, 8), "expression": torch.zeros(1, 8), "pose": torch.zeros(1, 3)}
    turned = still | {"pose": torch.zeros(1, 3).index_fill(1, torch.tensor(axis), angle)}
    found = shape.differences(judge, still, turned)
    assert found["pose"].item() == pytest.approx(abs(angle), abs=0.1)
    assert found["shape"] == found["expression"] == 0


def test_faces_of_two_may_be_put_together(judge):
    """LatentSwap's shape loss: one's shape with the other's expression and pose."""
    codes = judge.measure(FACES.images)
    mixed = codes | {"shape": codes["shape"].roll(1, 0)}
    still = {**mixed, "expression": torch.zeros_like(codes["expression"]), "pose": torch.zeros(8, 3)}
    torch.testing.assert_close(judge.view(still), judge.neutral(codes["shape"].roll(1, 0)))


def test_unknown_factors_only_silence_their_terms(judge, rendered):
    phase = judge.phases()[0]
    whole = phase.losses(rendered.resize(32))
    half = rendered.resize(32)
    half = replace(half, factors={g: v.clone().index_fill_(0, torch.arange(4), torch.nan) for g, v in
                                  half.factors.items()})  # fmt: skip
    part = phase.losses(half)
    assert all(torch.isfinite(value) for value in part.values())
    assert torch.equal(part["landmarks"], whole["landmarks"])
    assert part["shape"] != whole["shape"]
    none = replace(half, factors={g: torch.full_like(v, torch.nan) for g, v in half.factors.items()})
    assert phase.losses(none)["shape"] == 0


def test_landmarks_of_the_model_stand_where_the_renderer_puts_them(rendered):
    """The rotation's signs: a head that is turned to its left shows so in the model's view, too."""
    still, moved = shape_model.find_true_points(rendered.factors, 32)
    view = (still + moved) @ head.rotation(rendered.factors["pose"]).transpose(1, 2)
    marks = (rendered.landmarks + 0.5) / 64 * 2 - 1
    camera = shape.fit_camera(view[:, 17:68], marks[:, 17:])
    assert (camera[:, 0] > 0.5).all()
    assert (camera[:, 1:].abs() < 0.2).all()


# ---------------------------------------------------------------------------------------------- augmentation


def test_augmentation_moves_labels_and_landmarks_along():
    faces = drawn.faces(16, 64, 3)
    marked = faces.images.clone().fill_(-1)
    rows, spots = torch.arange(16), faces.landmarks[:, 30].round().long()
    for row, (x, y) in zip(rows, spots, strict=True):
        marked[row, :, y - 2 : y + 3, x - 2 : x + 3] = 1
    torch.manual_seed(0)
    moved = augment(replace(faces, images=marked), strength=0)
    assert moved.labels.dtype == torch.uint8
    grid = torch.stack(torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="xy"), -1)
    for row in rows:
        weight = (moved.images[row, 0] + 1) ** 2
        centre = (grid * weight[..., None]).sum((0, 1)) / weight.sum()
        assert (centre - moved.landmarks[row, 30]).norm() < 1.5


def test_what_is_held_before_a_face_is_background():
    assert torch.equal(occlude(FACES, 0).images, FACES.images)
    torch.manual_seed(3)
    many = FACES[[0] * 24]
    covered = occlude(many, 1)
    assert covered.images.abs().max() <= 1
    changed = (covered.labels != many.labels).flatten(1)
    assert (covered.labels[covered.labels != many.labels] == 0).all()
    assert (changed.float().mean(1) > 0.001).float().mean() > 0.6
    same = (covered.images == many.images).all(1)
    assert not (changed & same.flatten(1)).any()  # no label changes where nothing was drawn
    assert same.float().mean() > 0.5


def test_augmentation_follows_the_seed_and_keeps_the_range():
    outs = []
    for _ in range(2):
        torch.manual_seed(4)
        outs.append(augment(FACES))
    assert torch.equal(outs[0].images, outs[1].images)
    assert torch.equal(outs[0].labels, outs[1].labels)
    assert outs[0].images.abs().max() <= 1
    assert not torch.equal(outs[0].images, FACES.images)


def test_what_a_file_loses_passes_gradients():
    images = FACES.images.clone().requires_grad_()
    torch.manual_seed(0)
    augment(Faces(images), strength=2).images.square().sum().backward()
    assert (images.grad.flatten(1).norm(dim=1) > 0).all()


def test_attacked_pictures_raise_the_loss_within_their_radius():
    embedder = judges.build("identity_linear", "smoke").eval()
    images = FACES.images * 0.9  # nothing is cut off at black and white
    known = embedder(images).detach()

    def loss(pictures):
        return (1 - (embedder(pictures) * known).sum(1)).mean()

    torch.manual_seed(0)
    attacked = identity.attack(images, loss, 8)
    changes = (attacked - images).square().mean((1, 2, 3)).sqrt() * 127.5
    assert torch.equal(attacked[1::2], images[1::2])
    assert (changes[::2] > 0).all()
    assert (changes[::2] <= 8.001).all()
    noise = torch.randn_like(images) * (changes / 127.5)[:, None, None, None]
    assert loss(attacked) > 3 * loss(images + noise)


# ---------------------------------------------------------------------------------------------- perceptual distance


def test_feature_distances_are_distances():
    distance = perceptual.feature_distance(judges.build("identity_linear", "smoke"))
    same, other = distance(FACES.images, FACES.images), distance(FACES.images, FACES.images.flip(0))
    assert same.shape == (8,)
    assert same.abs().max() < 1e-9
    assert (other > 1e-4).all()
    torch.testing.assert_close(other, distance(FACES.images.flip(0), FACES.images))
    noisy = [distance(FACES.images, FACES.images + level * torch.randn_like(FACES.images)) for level in (0.05, 0.3)]
    assert (noisy[0] < noisy[1]).all()


def test_close_ups_double_what_a_distance_sees_of_the_middle():
    judge = judges.build("identity_linear", "smoke")
    assert perceptual.close_up(FACES.images).shape == FACES.images.shape
    changed = {"middle": FACES.images.clone(), "corner": FACES.images.clone()}
    side = FACES.size[0]
    changed["middle"][..., side // 2 : side * 5 // 8, side // 2 : side * 5 // 8] *= -1
    changed["corner"][..., : side // 8, : side // 8] *= -1
    whole, both = (perceptual.feature_distance(judge, True, close) for close in (False, True))
    assert torch.allclose(both(FACES.images, changed["corner"]), whole(FACES.images, changed["corner"]) / 2)
    assert (both(FACES.images, changed["middle"]) > whole(FACES.images, changed["middle"]) / 2).all()


def test_the_mesh_is_seen_whichever_way_it_runs_and_nothing_else_is():
    """A pattern of .1 in one of three directions is a distance of .1 / 3; of light, none."""
    across = 0.1 * (1 - 2 * (torch.arange(64) % 2)).float()
    for pattern in (across, across[:, None], across * across.sign()[:, None]):
        changed = FACES.images + pattern
        assert perceptual.mesh_distance(changed, FACES.images) == pytest.approx(0.1 / 3, rel=1e-4)
        assert perceptual.mesh_distance(changed.roll((1, 1), (2, 3)), FACES.images.roll((1, 1), (2, 3))) > 0.03
    assert perceptual.mesh_distance(FACES.images + 0.1, FACES.images) < 1e-6
    assert perceptual.mesh_distance(FACES.images, FACES.images) == 0


def test_lpips_is_its_formula_with_the_published_weights(tmp_path):
    """Written out for one level after the other, on random weights of AlexNet."""
    network = perceptual.AlexNetDistance()
    for parameter in network.features.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    state = {f"features.{name}": value for name, value in network.features.state_dict().items()}
    torch.save(state | {"classifier.1.weight": torch.zeros(2)}, tmp_path / "alexnet.pth")
    ours = judges.load_official(tmp_path / "alexnet.pth")
    assert_held_still(ours, "lpips")
    brought = Path(torchmetrics.__file__).parent / "functional/image/lpips_models/alex.pth"
    lines = weights.read_tensors(brought)
    maps, wanted = [FACES.images, FACES.images.flip(0)], 0
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    maps = [(one - shift[:, None, None]) / scale[:, None, None] for one in maps]
    for level, (number, stride, padding) in enumerate([(0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)]):
        kernel, bias = state[f"features.{number}.weight"], state[f"features.{number}.bias"]
        maps = [torch.nn.functional.conv2d(one, kernel, bias, stride, padding).relu() for one in maps]
        a, b = (one / one.square().sum(1, keepdim=True).sqrt() for one in maps)
        wanted = wanted + torch.einsum("bchw,c->bhw", (a - b) ** 2, lines[f"lin{level}.model.1.weight"].flatten()).mean(
            (1, 2)
        )
        if number < 6:
            maps = [torch.nn.functional.max_pool2d(one, 3, 2) for one in maps]
    with torch.no_grad():
        torch.testing.assert_close(ours(FACES.images, FACES.images.flip(0)), wanted, atol=1e-6, rtol=1e-4)
    assert all((weight > 0).any() for weight in ours.weights)
    with pytest.raises(ValueError, match="doesn't hold AlexNet"):
        perceptual.AlexNetDistance().load_official(brought)


# ---------------------------------------------------------------------------------------------- smoothness


def _sphere(count: int, dimensions: int = 6, seed: int = 0) -> torch.Tensor:
    codes = torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(codes, dim=1)


def test_smoothness_is_zero_where_every_point_between_is_there():
    ends, others = _sphere(20), _sphere(20, seed=1)
    middle = torch.nn.functional.normalize(ends + others, dim=1)
    assert smoothness.measure_smoothness(ends, others, middle, 0.5).max() < 1e-6
    assert smoothness.measure_smoothness(ends, others, ends, 0.0).max() < 1e-6
    jump = smoothness.measure_smoothness(ends, others, ends, 0.5)  # an embedder that does not move by half the way
    wanted = (middle - ends).norm(dim=1) / (ends - others).norm(dim=1)
    torch.testing.assert_close(jump, wanted)


def test_a_denser_gallery_is_smoother():
    codes = _sphere(50, 3)
    sparse, dense = (smoothness.measure_by_samples(codes, _sphere(count, 3, 2), 0.5, 200) for count in (20, 2000))
    assert dense.mean() < 0.3 * sparse.mean()


def test_verification_within_families_asks_for_what_a_family_doesnt_share():
    people = np.repeat(np.arange(12), 3)
    families, skins = people // 4, torch.eye(12)[people // 4]
    assert smoothness.measure_verification(skins, people, 500) > 0.8
    assert smoothness.measure_verification(skins, people, 500, families=families) == 0.5
    assert smoothness.measure_verification(torch.eye(12)[people], people, 500, families=families) == 1
    with pytest.raises(ValueError, match="several pictures"):
        smoothness.measure_verification(skins, people, families=people)


def test_verification_of_perfect_and_of_random_embedders():
    people = np.repeat(np.arange(30).astype(str), 3)
    perfect = torch.eye(30).repeat_interleave(3, 0)
    assert smoothness.measure_verification(perfect, people, 500) == 1
    assert abs(smoothness.measure_verification(_sphere(90), people, 2000) - 0.5) < 0.1
    with pytest.raises(ValueError, match="people in several pictures"):
        smoothness.measure_verification(_sphere(5), np.arange(5).astype(str))


def test_unique_retrievals_count_pictures():
    gallery = torch.eye(4)
    codes = gallery[:2]
    assert smoothness.count_unique(codes, gallery, 5).tolist() == [2] * 5  # the two ends, and nothing between them
    between = torch.nn.functional.normalize(gallery[:1] + gallery[1:2])
    assert smoothness.count_unique(codes, torch.cat([gallery, between]), 5).tolist() == [3] * 5


def test_a_path_keeps_the_shot_and_moves_the_person():
    faces = smoothness.render_paths((0.5, 0.25), pairs=2, seed=1)
    one, other, between, early = (faces[k : k + 2].factors for k in (0, 2, 4, 6))
    torch.testing.assert_close(between["shape"], (one["shape"] + other["shape"]) / 2)
    torch.testing.assert_close(early["skin"], 0.75 * one["skin"] + 0.25 * other["skin"])
    for group in ("hair", "pose", "light"):
        assert torch.equal(between[group], one[group])
        assert torch.equal(between[group], other[group])
    embedder = judges.build("identity", "smoke").eval()
    found = smoothness.measure_by_path(embedder, faces, (0.5, 0.25))
    assert found.shape == (2, 2)
    assert (found > 0).all()


def test_a_generator_tells_what_lies_between():
    class Sphere:
        """Its pictures are its codes."""

        def sample(self, count, seed=0):
            return _sphere(count, 3, seed)

        def __call__(self, codes):
            return codes[:, :, None, None]

        def embed(self, faces):
            return faces.images.flatten(1)

    half, quarter = (smoothness.measure_by_generator(Sphere(), Sphere(), at, 50, batch=7) for at in (0.5, 0.25))
    assert half.shape == (50,)
    torch.testing.assert_close(half, torch.zeros(50), atol=1e-5, rtol=0)  # half-way, line and circle meet
    assert quarter.mean() > 1e-3


def test_embeddings_of_a_dataset_come_with_their_subjects(people):
    codes, names = smoothness.embed_dataset(judges.build("identity", "smoke").eval(), people, batch=5)
    assert codes.shape == (16, 16)
    assert names.tolist() == people.metadata["subject"].tolist()


# ---------------------------------------------------------------------------------------------- reports


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("identity", {"auc", "d_smooth"}),
        ("parser", {"accuracy", "f1", "iou"}),
        ("shape", {"landmarks", "shape", "expression", "pitch", "yaw", "roll"}),
    ],
)
def test_a_report_says_how_good_a_judge_is(name, told, people):
    found = judges.build(name, "smoke").eval().report(people)
    assert set(found) == told
    assert all(np.isfinite(value) for value in found.values())


def test_photographs_are_reported_by_landmarks_alone(judge, rendered):
    unknown = replace(rendered, factors=None)
    assert set(judge.errors(unknown)) == {"landmarks"}
    torch.testing.assert_close(judge.errors(unknown)["landmarks"], judge.errors(rendered)["landmarks"])


# ---------------------------------------------------------------------------------------------- robustness


def test_painting_satisfies_an_embedder_within_its_bound():
    embedder = judges.build("identity_linear", "smoke").freeze()
    images = FACES.images * 0.9
    wanted = embedder(images).roll(1, 0)
    painted = robustness.paint(embedder, images, wanted, most=6, steps=10)
    change = (painted - images).square().mean((1, 2, 3)).sqrt() * 127.5
    assert (change <= 6.001).all()
    before, after = ((embedder(one) * wanted).sum(1) for one in (images, painted))
    assert (after > before).all()
    more = robustness.paint(embedder, images, wanted, most=24, steps=10)
    assert ((embedder(more) * wanted).sum(1) > after - 1e-3).all()


def test_a_gradient_that_points_to_the_truth_is_aligned():
    """An embedder that compares pixels asks for the truth itself; one turned round, for its opposite."""
    images, truths = FACES.images[:4], FACES.images[4:]

    def as_vectors(pictures):
        return torch.nn.functional.normalize(pictures.flatten(1), dim=1)

    aligned = robustness.align(as_vectors, images, truths, as_vectors(truths))
    assert (aligned > 0.5).all()
    torch.testing.assert_close(robustness.align(as_vectors, images, truths, -as_vectors(truths)), -aligned)


def test_weights_in_training_load_with_their_own_configs():
    folder = provenance.checkout() / "studies" / "training"
    for path in folder.glob("*.safetensors"):
        name = path.stem.rpartition("_")[0]
        assert recipes.registry(name).load(name, file=path).config.size == 128, path.name
        assert weights.read_card(path)["config"]["size"] == 128
