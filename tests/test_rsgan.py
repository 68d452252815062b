"""RSGAN: the checks that its paper's formulas and its separation of face and hair allow."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from swaplib import synthetic
from swaplib.faces import CELEBA_ATTRIBUTES
from swaplib.families.rsgan import RSGAN, Config, attribute_loss, weighted_l1
from swaplib.networks.adversarial import critic_loss
from swaplib.networks.variational import kl_divergence


@pytest.fixture(scope="module")
def faces():
    return synthetic.faces(4, seed=6, size=64).resize(32)


@pytest.fixture
def family():
    torch.manual_seed(0)
    return RSGAN(Config.smoke())


def gradients(family, loss) -> set[str]:
    """Names of the submodules that a loss sends gradient to."""
    family.zero_grad()
    loss.backward()
    return {
        ".".join(name.split(".")[:2])
        for name, parameter in family.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().max() > 0
    }


def test_paper_size():
    family = RSGAN(Config.paper())
    count = {name: sum(p.numel() for p in module.parameters()) for name, module in family.named_children()}
    # The paper gives no counts: these hold the chosen layers still.
    assert count == {
        "encoders": 18_272_128,
        "decoders": 17_198_470,
        "composer": 10_172_099,
        "critics": 7_620_738,
        "classifier": 7_282_024,
    }


def test_codes_and_pictures_have_their_shapes(family, faces):
    family.eval()
    codes = family.encode(faces)
    assert {name: tuple(code.shape[1:]) for name, code in codes.items()} == {p.name: p.shape for p in family.parts}
    images = family.decode(codes)
    assert images.shape == faces.images.shape
    assert images.abs().max() <= 1
    assert torch.equal(family.swap(faces, faces), images)


def test_a_swap_takes_the_face_codes_only(family, faces):
    family.eval()
    source, target = family.encode(faces[[0, 1]]), family.encode(faces[[2, 3]])
    mixed = family.mix(source, target)
    for name in ("face", "face_attributes"):
        assert torch.equal(mixed[name], source[name])
    for name in ("hair", "hair_attributes"):
        assert torch.equal(mixed[name], target[name])


def test_editing_the_face_leaves_the_hair_codes_alone(family, faces):
    family.eval()
    plain = family.encode(faces)
    wanted = faces.attributes.nan_to_num(0)
    wanted[:, CELEBA_ATTRIBUTES.index("Smiling")] = 1 - wanted[:, CELEBA_ATTRIBUTES.index("Smiling")]
    edited = family.mix(family.encode(faces, wanted), plain, {"face": 1, "face_attributes": 1})
    assert torch.equal(edited["hair"], plain["hair"])
    assert torch.equal(edited["hair_attributes"], plain["hair_attributes"])
    assert not torch.equal(edited["face_attributes"], plain["face_attributes"])


def test_losses_have_weights(family, faces):
    for phase in family.phases():
        for name, value in phase.losses(faces).items():
            assert hasattr(family.config, name)
            assert torch.isfinite(value)


def test_the_face_loss_leaves_the_hair_branch_alone(family, faces):
    losses = family.phases()[0].losses(faces)
    reached = gradients(family, losses["face_reconstruction"])
    assert reached == {"encoders.face", "encoders.face_attributes", "decoders.face"}


def test_the_hair_loss_leaves_the_face_branch_alone(family, faces):
    losses = family.phases()[0].losses(faces)
    reached = gradients(family, losses["hair_reconstruction"])
    assert reached == {"encoders.hair", "encoders.hair_attributes", "decoders.hair"}


def test_the_judges_do_not_train_the_generator(family, faces):
    losses = family.phases()[1].losses(faces)
    assert gradients(family, sum(losses.values())) == {
        "critics.global", "critics.patch", "classifier.body", "classifier.head",
    }  # fmt: skip


def test_kl_divergence():
    zero = torch.zeros(3, 5, requires_grad=True)
    loss = kl_divergence(zero, zero)
    assert loss == 0
    loss.backward()
    assert zero.grad.abs().max() == 0
    assert kl_divergence(torch.ones(2, 4), torch.zeros(2, 4)) == pytest.approx(2.0)


def test_background_counts_half():
    torch.manual_seed(0)
    images, truth = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    everywhere = torch.ones(2, 1, 8, 8)
    plain = weighted_l1(images, truth)
    assert plain == pytest.approx(float((images - truth).abs().mean()))
    assert weighted_l1(images, truth, 1 - 0.5 * everywhere) == pytest.approx(float(plain) / 2)


def test_critics_loss_has_two_fake_terms():
    real, fake = torch.zeros(4), torch.zeros(4)
    assert critic_loss(real, [fake, fake]) == pytest.approx(3 * 0.693147, abs=1e-5)


def test_unknown_attributes_are_left_out():
    logits = torch.tensor([[2.0, -3.0]])
    known = torch.tensor([[1.0, float("nan")]])
    assert attribute_loss(logits, known) == pytest.approx(0.126928, abs=1e-5)


def test_without_the_random_branch_there_is_one_fake(family, faces):
    codes = family.encode(faces)
    assert len(family._fakes(codes)) == 2
    family.config = replace(family.config, random_branch=False)
    assert len(family._fakes(codes)) == 1


def test_samples_follow_the_seed(family):
    first, again, other = family.sample(2, seed=3), family.sample(2, seed=3), family.sample(2, seed=4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["face"], other["face"])
    family.config = replace(family.config, variational=False)
    with pytest.raises(ValueError, match="not variational"):
        family.sample(1)


def test_wrong_input_is_refused(family, faces):
    with pytest.raises(ValueError, match="32 px"):
        family.encode(faces.resize(64))
    with pytest.raises(ValueError, match=r"needs faces\.landmarks"):
        family.phases()[0].losses(replace(faces, landmarks=None))
    with pytest.raises(ValueError, match="power of two"):
        RSGAN(replace(Config.smoke(), size=48))


@pytest.mark.parametrize("variational", [True, False])
def test_a_tiny_overfit_drives_every_reconstruction_down(faces, variational):
    torch.manual_seed(1)
    family = RSGAN(replace(Config.smoke(), variational=variational)).train()
    phase = family.phases()[0]
    optimiser = torch.optim.Adam(phase.parameters, 2e-3)
    wanted = ("reconstruction", "face_reconstruction", "hair_reconstruction")
    history = []
    for _ in range(60):
        losses = phase.losses(faces)
        history.append([losses[name].item() for name in wanted])
        optimiser.zero_grad()
        sum(losses[name] for name in wanted).backward()
        optimiser.step()
    first, last = torch.tensor(history[:3]).mean(0), torch.tensor(history[-5:]).mean(0)
    assert (last < 0.55 * first).all(), (first, last)
