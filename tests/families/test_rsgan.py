"""RSGAN: the checks that its paper's formulas and its separation of face and hair allow."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from swaplib import families, photos, synthetic
from swaplib.faces import CELEBA_ATTRIBUTES, Faces, split_colours
from swaplib.families.rsgan import RSGAN, Config, Encoder, attribute_loss, weighted_l1_loss
from swaplib.networks.codes import kl_divergence
from swaplib.networks.discriminators import discriminator_loss


@pytest.fixture(scope="module")
def faces():
    return synthetic.render_faces(4, seed=6, size=64).resize(32)


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
        "discriminators": 7_620_738,
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
        "discriminators.global", "discriminators.patch", "classifier.body", "classifier.head",
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
    plain = weighted_l1_loss(images, truth)
    assert plain == pytest.approx(float((images - truth).abs().mean()))
    assert weighted_l1_loss(images, truth, 1 - 0.5 * everywhere) == pytest.approx(float(plain) / 2)


def test_discriminators_loss_has_two_fake_terms():
    real, fake = torch.zeros(4), torch.zeros(4)
    assert discriminator_loss(real, [fake, fake]) == pytest.approx(3 * 0.693147, abs=1e-5)


def test_unknown_attributes_are_left_out():
    logits = torch.tensor([[2.0, -3.0]])
    known = torch.tensor([[1.0, float("nan")]])
    assert attribute_loss(logits, known) == pytest.approx(0.126928, abs=1e-5)
    both = torch.tensor([[1.0, 0.0]])
    assert attribute_loss(logits, both) == pytest.approx((0.126928 + 0.048587) / 2, abs=1e-5)
    assert attribute_loss(logits, both, summed=True) == pytest.approx(0.126928 + 0.048587, abs=1e-5)


def test_the_printed_routes_keep_losses_from_networks(faces):
    config = replace(Config.smoke(), printed_routes=True)
    assert Config.paper().printed_routes
    assert Config.paper().summed
    family = RSGAN(config).train()
    encoders, composer = family.encoders["face"].head.weight, family.composer.seed.weight

    def reach(name):
        family.zero_grad(set_to_none=True)
        family._autoencoder_losses(faces)[name].backward()
        return [one.grad is not None and bool(one.grad.any()) for one in (encoders, composer)]

    assert reach("reconstruction") == [False, True]
    assert reach("generated_classification") == [True, False]
    assert reach("face_reconstruction") == [True, False]
    assert reach("adversarial_global") == [True, True]
    assert all(one.requires_grad for one in family.composer.parameters())


def test_random_codes_can_follow_what_training_found(faces):
    family = RSGAN(replace(Config.smoke(), fitted=True)).eval()
    torch.manual_seed(0)
    for head in (family.encoders["face"].head, family.encoders["hair_attributes"].body[-1]):
        torch.nn.init.normal_(head.bias, std=2)
    many = Faces.cat([faces, faces.mirror()])
    family.on_train_end(many)
    drawn, plain = family.sample(4000, seed=1), family.sample(4000, seed=1, fitted=False)
    with torch.no_grad():
        means, variances = family._distributions(many, family.attributes(many))["face"]
    torch.testing.assert_close(drawn["face"].mean(0), means.mean(0), atol=0.15, rtol=0)
    wanted = (means.var(0) + variances.exp().mean(0)).sqrt()
    torch.testing.assert_close(drawn["face"].std(0), wanted, atol=0.1, rtol=0.1)
    assert plain["face"].mean().abs() < 0.02
    assert list(drawn) == list(plain)


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


def test_crops_are_the_papers():
    """Of CelebA's 178 x 218 pictures: hair from (0, 20), 178 x 178; in it the face from (30, 70), 118 x 118."""
    faces = synthetic.render_faces(2, seed=3, size=128)
    celeba, square = photos.align(faces, "celeba"), photos.align(faces, "rsgan")
    assert (square.images - celeba.images[..., 20:198, :]).abs().mean() < 0.005  # but for what lies outside the photo
    torch.testing.assert_close(square.landmarks, celeba.landmarks - torch.tensor([0.0, 20.0]), atol=1e-3, rtol=0)
    left, top, side = (178 * share for share in Config.paper().face_crop)
    assert (left, top + 20, side) == pytest.approx((30, 70, 118))
    shown, _ = photos.rsgan_crops(celeba, 128)
    family = RSGAN(replace(Config.paper(), width=8, width_parts=8, width_composer=8, width_discriminators=8,
                           width_classifier=8, most=16))  # fmt: skip
    face, hair, hull = family.regions(square.resize(128))
    inside = F.interpolate(hull.float(), (178, 178))[..., 50:168, 30:148]
    inside = F.interpolate(inside, (128, 128)) > 0.5
    assert (face - shown.images).abs().mean(1, keepdim=True)[inside].median() < 0.03  # resized in another order
    assert (hair[hull.expand_as(hair)] == 0).all()
    assert torch.equal(hair[~hull.expand_as(hair)], square.resize(128).images[~hull.expand_as(hair)])


def test_the_lstm_reads_both_regions(faces):
    torch.manual_seed(0)
    family = RSGAN(replace(Config.smoke(), lstm=True)).eval()
    codes = family.encode(faces)
    images = family.decode(codes)
    for part in family.parts:
        moved = family.decode(codes | {part.name: codes[part.name] + 1})
        assert (moved - images).abs().max() > 0, part.name
    names = {name.split(".")[0] for name, p in family.named_parameters() if id(p) in
             {id(q) for q in family.phases()[0].parameters}}  # fmt: skip
    assert "reader" in names


def test_regional_encoders_see_their_region_only(faces):
    torch.manual_seed(0)
    family = RSGAN(Config.smoke()).eval()
    _, _, hull = family.regions(faces)
    attributes = faces.attributes.nan_to_num(0)
    plain = family.encode(faces, attributes)
    other = faces.images.flip(0)
    new_face = family.encode(replace(faces, images=torch.where(hull, other, faces.images)), attributes)
    new_hair = family.encode(replace(faces, images=torch.where(hull, faces.images, other)), attributes)
    assert torch.equal(new_face["hair"], plain["hair"])
    assert not torch.equal(new_face["face"], plain["face"])
    assert torch.equal(new_hair["face"], plain["face"])
    assert not torch.equal(new_hair["hair"], plain["hair"])


def test_amplified_colours_leave_grey_pictures_alone():
    torch.manual_seed(0)
    config = Config.smoke()
    plain, amplified = Encoder(replace(config, chroma=1)).eval(), Encoder(replace(config, chroma=4)).eval()
    amplified.load_state_dict(plain.state_dict())
    grey, attributes = torch.rand(2, 1, 32, 32).expand(-1, 3, -1, -1), torch.zeros(2, 40)
    torch.testing.assert_close(plain(grey, attributes), amplified(grey, attributes))
    tinted = grey + torch.tensor([0.1, 0.0, -0.1])[:, None, None]
    moved = [(net(tinted, attributes)[0] - net(grey, attributes)[0]).norm() for net in (plain, amplified)]
    assert moved[1] > 2 * moved[0] > 0


def test_terms_without_weight_are_not_computed(faces):
    alone = RSGAN.stages(Config.demo())[1].config
    assert (alone.size, alone.adversarial_global, alone.discriminator_global) == (128, 0, 0)
    family = RSGAN(replace(Config.smoke(), adversarial_global=0, adversarial_patch=0, generated_classification=0,
                           discriminator_global=0, discriminator_patch=0))  # fmt: skip
    autoencoder, judges = family.phases()
    wanted = {"reconstruction", "face_reconstruction", "hair_reconstruction", "colours", "kl"}
    assert set(autoencoder.losses(faces)) == wanted
    assert set(judges.losses(faces)) == {"classification"}
    assert len(family._fakes(family.encode(faces))) == 1


def test_colours_are_what_grey_lacks():
    picture = torch.rand(2, 3, 8, 8)
    grey = picture.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    assert split_colours(grey).abs().max() < 1e-6
    torch.testing.assert_close(split_colours(picture + 0.3), split_colours(picture))
    red, blue = split_colours(picture).unbind(1)
    green = -(red + blue)
    torch.testing.assert_close(grey + torch.stack([red, green, blue], 1), picture)


def test_directions_are_differences_of_mean_codes(family):
    both = synthetic.render_faces(48, seed=6, size=64).resize(32)
    family.eval()
    assert family.directions() == {}
    family.on_train_end(both)
    found = family.directions()
    assert "hair: Gray Hair" in found
    assert "face: Gray Hair" not in found
    codes = family.encode(both)["hair"]
    grey = both.attributes[:, CELEBA_ATTRIBUTES.index("Gray_Hair")] == 1
    wanted = codes[grey].mean(0) - codes[~grey].mean(0)
    torch.testing.assert_close(found["hair: Gray Hair"]["hair"], wanted, atol=1e-5, rtol=1e-4)
    assert set(found["hair: Gray Hair"]) == {"hair", "hair_attributes"}
    few = replace(both, attributes=torch.zeros_like(both.attributes))
    other = RSGAN(Config.smoke()).eval()
    other.on_train_end(few)
    assert other.directions() == {}


def test_a_projected_discriminator_joins_late(faces):
    config = replace(Config.smoke(), projected=True, judges_preset="smoke", grown=True)
    half, alone, seeing, whole = RSGAN.stages(config)
    assert sum(stage.share for stage in (half, alone, seeing, whole)) == pytest.approx(1)
    assert whole.config == config
    family = families.start("rsgan", seeing.config).train()
    autoencoder, judging = family.phases()
    assert not {"adversarial_global", "adversarial_patch"} & set(autoencoder.losses(faces))
    told = judging.losses(faces)
    assert set(told) == {"classification", "discriminator_global", "accuracy"}
    told["discriminator_global"].backward()
    learned = {id(one) for one in judging.parameters}
    fixed = [one for one in family.discriminators.parameters() if id(one) not in learned]
    assert fixed
    assert all(one.grad is None for one in fixed)
    family = families.start("rsgan", config).train()
    loss = family.phases()[0].losses(faces)["adversarial_global"]
    assert {"composer.body", "encoders.face", "encoders.hair"} <= gradients(family, loss)


def test_reconstructions_may_be_compared_by_features(faces):
    family = families.start("rsgan", replace(Config.smoke(), perceptual=1, judges_preset="smoke")).train()
    loss = family.phases()[0].losses(faces)["perceptual"]
    assert {"composer.body", "encoders.face", "encoders.hair"} <= gradients(family, loss)
    assert family.distance(faces.images, faces.images).max() == 0


def test_what_was_learned_beside_another_kind_of_discriminator_is_kept():
    plain = families.start("rsgan", Config.smoke(), seed=1)
    family = families.start("rsgan", replace(Config.smoke(), projected=True, judges_preset="smoke"))
    family.init_from(plain)
    for name in ("encoders", "composer", "decoders", "classifier"):
        both = (one.get_submodule(name).state_dict().values() for one in (family, plain))
        assert all(torch.equal(*pair) for pair in zip(*both, strict=True)), name
