"""Generators and their encoders: trained by the common loop, sampled, frozen."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import drawn
import pytest
import torch

from swaplib import generators, metrics, synthetic, weights
from swaplib.faces import Faces
from swaplib.generators.encoder import StyleEncoder
from swaplib.generators.stylegan2 import Config, StyleGAN2
from swaplib.networks.ada import Augment
from swaplib.networks.discriminators import paired_loss
from swaplib.networks.resample import double
from swaplib.networks.stylegan2 import gradient_penalty
from swaplib.training.loop import train
from swaplib.weights import released

FACES = drawn.faces(4, 32, 0)
PLAIN = {"progress": False, "workers": 1, "precision": "fp32", "device": "cpu", "batch": 4}


@pytest.fixture
def generator() -> StyleGAN2:
    return generators.start("stylegan2", "smoke").eval()


@pytest.fixture
def taught(tmp_path, monkeypatch, generator) -> StyleGAN2:
    """A generator whose weights are found."""
    weights.save(generator, tmp_path / "stylegan2_smoke.safetensors", weights.Card("d", 1, 1, 1.0, "h", "c", "l"))
    monkeypatch.setenv("SWAPLIB_WEIGHTS", str(tmp_path))
    return generator


def test_the_generator_has_the_papers_size():
    generator = generators.start("stylegan2", "paper")
    assert sum(parameter.numel() for parameter in generator.network.parameters()) == 30_370_060
    assert sum(parameter.numel() for parameter in generator.discriminator.parameters()) == 29_012_513


READING = replace(Config.smoke(), read=1)


@pytest.mark.parametrize(
    ("name", "preset"),
    [*((name, "smoke") for name in generators.NAMES), pytest.param("stylegan2", READING, id="stylegan2-reading")],
)
def test_losses_are_weights_of_the_config(name, preset, taught, rendered):
    learner = generators.start(name, preset)
    for phase in learner.phases():
        losses = phase.losses(rendered)
        assert set(losses) <= {field.name for field in fields(learner.config)}
        assert all(torch.isfinite(value) for value in losses.values())


def test_samples_follow_the_seed_and_the_truncation(generator):
    codes = generator.sample(3, seed=1)
    assert codes.shape == (3, 8, 16)
    assert torch.equal(codes, generator.sample(3, seed=1))
    assert not torch.equal(codes, generator.sample(3, seed=2))
    mean = generator.network.mapping.w_avg.expand(3, 8, 16)
    torch.testing.assert_close(generator.sample(3, truncation=0), mean)
    some = generator.sample(3, seed=1, truncation=0.5, cutoff=2)
    assert torch.equal(some[:, 2:], codes[:, 2:])
    images = generator(codes)
    assert images.shape == (3, 3, 32, 32)
    assert images.abs().max() <= 1
    assert generator.preview(FACES).shape == (3, 4, 3, 32, 32)


def test_a_generator_is_nearer_to_its_own_pictures_than_to_others(generator):
    own = drawn.Pictures(Faces(generator(generator.sample(40, seed=5))))
    near, far = generator.report(own), generator.report(drawn.Pictures(drawn.faces(40, 64)))
    assert near["pictures"] == far["pictures"] == 40
    assert near["kernel"] < far["kernel"]
    assert near["frechet"] < far["frechet"]


def test_an_encoder_is_measured_by_what_the_generator_shows(taught):
    encoder = generators.start("stylegan2_encoder", "smoke").eval()
    faces = drawn.faces(5, 48)
    found = encoder.report(drawn.Pictures(faces))
    with torch.no_grad():
        missed = encoder.generator(encoder(faces.resize(32).images)) - faces.resize(32).images
    assert found["pictures"] == pytest.approx(float(missed.abs().mean()) / 2, rel=1e-5)
    assert 0 < found["own pictures"] < 1


def test_styles_are_mixed_from_a_random_layer_on():
    generator = generators.start("stylegan2", replace(Config.smoke(), mixing=1.0)).eval()
    with torch.no_grad():
        codes = generator._codes(8)
    changes = [(one[1:] != one[:-1]).any(1).sum() for one in codes]
    assert all(count == 1 for count in changes)
    plain = generators.start("stylegan2", replace(Config.smoke(), mixing=0.0)).eval()._codes(2)
    assert torch.equal(plain, plain[:, :1].expand_as(plain))


def test_lazy_phases_share_their_optimiser_and_correct_its_rates():
    alone = replace(Config.demo(), read=0, adversarial=1, pupil=False, projected=False)
    phases = {phase.name: phase for phase in generators.start("stylegan2", alone).phases()}
    assert [(name, phase.every, phase.shares) for name, phase in phases.items()] == [
        ("generator", 1, None), ("path", 4, "generator"), ("discriminator", 1, None), ("smoothness", 16,
        "discriminator"),
    ]  # fmt: skip
    assert phases["path"].learning_rate == phases["generator"].learning_rate == pytest.approx(2e-3 * 4 / 5)
    assert phases["discriminator"].betas == (0.0, pytest.approx(0.99 ** (16 / 17)))


def test_the_paper_begins_with_the_discriminator_and_the_demo_without():
    paper, demo = (StyleGAN2.stages(generators.config("stylegan2", preset)) for preset in ("paper", "demo"))
    assert [stage.name for stage in paper] == ["whole"]
    assert [stage.config.adversarial > 0 for stage in demo] == [False, False, False, True]
    assert [stage.config.adversarial for stage in StyleGAN2.stages(Config.smoke())] == [0, 0, 1]
    with torch.device("meta"):
        assert generators.start("stylegan2", paper[-1].config).reader is None
    reading, both = (generators.start("stylegan2", replace(READING, adversarial=k)).phases() for k in (0, 1))
    assert [phase.name for phase in reading] == ["reader", "mapping"]
    assert [phase.name for phase in both] == ["reader", "generator", "path", "discriminator", "smoothness"]


def test_reading_teaches_to_show_pictures_again_and_the_mapping_where_their_codes_lie():
    torch.manual_seed(0)
    generator = generators.start("stylegan2", replace(READING, adversarial=0))
    steps = list(train(generator, FACES, 150, **PLAIN, flips=False))
    assert steps[-1].losses["reader"]["read"] < steps[0].losses["reader"]["read"] - 0.5
    generator = steps[-1].model
    with torch.no_grad():
        codes, _ = generator.reader(FACES.images)
        shown = generator(generator.network.plus(codes))
        drawn_codes = generator.network.mapping(torch.randn(64, 16))
        away = [torch.cdist(some, generator.recent.codes).mean() for some in (drawn_codes, drawn_codes + 2)]
    own, others = ((shown - images).square().mean() for images in (FACES.images, FACES.images.roll(1, 0)))
    assert own < 0.8 * others
    assert away[0] < away[1]


def test_colours_can_be_read_by_themselves():
    """An error of lightness alone costs nothing there, and one of colour as much as its deviation's logarithm."""
    generator = generators.start("stylegan2", replace(READING, adversarial=0, colours=1)).eval()
    tint = torch.tensor([0.2, 0.0, -0.2]).view(1, 3, 1, 1)
    for offset, error in ((tint, 0.2), (tint + 0.5, 0.2), (2 * tint, 0.4)):
        shown = FACES.images + offset
        generator.network.synthesis.forward = lambda ws, noise, shown=shown: shown
        found = generator._reading_losses(FACES)["colours"]
        assert float(found.exp()) == pytest.approx(error, rel=1e-4)


def test_the_faces_pixels_can_count_more():
    """An error in the face grows by its weight, one of the background falls, and one everywhere stays as it is."""
    plain, weighing = (
        generators.start("stylegan2", replace(READING, adversarial=0, emphasis=emphasis)).eval() for emphasis in (0, 6)
    )
    face = metrics.face_region(FACES.labels)[:, None]
    grown = []
    for wrong in (face, ~face, face | True):
        shown = FACES.images + 0.2 * wrong
        errors = []
        for generator in (plain, weighing):
            generator.network.synthesis.forward = lambda ws, noise, shown=shown: shown
            errors.append(generator._reading_losses(FACES)["read"].item())
        grown.append(errors[1] - errors[0])
    assert grown[0] > 0.05
    assert grown[1] < -0.05
    assert grown[2] == pytest.approx(0, abs=1e-4)
    with pytest.raises(ValueError, match=r"faces\.labels"):
        weighing._reading_losses(replace(FACES, labels=None))


def test_it_reads_features_too_and_without_noise_its_strengths_stay_nothing():
    generator = generators.start("stylegan2", replace(READING, adversarial=0))
    last = list(train(generator, FACES, 3, **PLAIN, flips=False))[-1]
    assert last.losses["reader"].keys() == {"read", "perceptual"}
    assert not any(value.any() for name, value in last.model.state_dict().items() if name.endswith("noise_strength"))
    noisy = generators.start("stylegan2", replace(READING, adversarial=0, noise=True))
    last = list(train(noisy, FACES, 3, **PLAIN, flips=False))[-1]
    assert any(value.any() for name, value in last.model.state_dict().items() if name.endswith("noise_strength"))


def test_the_energy_distance_is_least_where_codes_are_spread_alike():
    generator = generators.start("stylegan2", replace(READING, adversarial=0)).eval()
    with torch.no_grad():
        generator.recent.codes.copy_(generator.network.mapping(torch.randn(1024, 16)))
        alike = generator._mapping_losses(FACES)["mapping"]
        generator.recent.codes.mul_(1.5).add_(0.2)
        assert alike < generator._mapping_losses(FACES)["mapping"]


def test_a_run_is_resumed_to_the_same_end(tmp_path):
    """Augmentation, path lengths and shared optimisers included."""
    config = replace(Config.smoke(), penalty_every=2, path_every=2, adaptation=8)

    def run(folder, steps, resume=False):
        generator = generators.start("stylegan2", config)
        list(train(generator, FACES, steps, folder=folder, resume=resume, **PLAIN))
        return generator

    whole = run(tmp_path / "whole", 4)
    run(tmp_path / "parts", 2)
    parts = run(tmp_path / "parts", 4, resume=True)
    assert whole.mean.value > 0
    assert not torch.equal(whole.network.mapping.w_avg, torch.zeros(16))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name


def test_released_weights_lack_what_only_training_needs(taught, tmp_path):
    names = {name.split(".")[0] for name in released._needed(taught)}
    assert names == {"network"}
    found = generators.frozen("stylegan2", "smoke")
    assert found.trained
    assert not found.train().training
    assert not any(parameter.requires_grad for parameter in found.parameters())
    torch.testing.assert_close(found(found.sample(1)), taught(taught.sample(1)), atol=0.02, rtol=0)


def test_an_encoder_needs_a_trained_generator(tmp_path, monkeypatch):
    monkeypatch.setattr("swaplib.weights.released.FOLDER", tmp_path)
    with pytest.raises(ValueError, match="the network stylegan2 that this learns from has no weights"):
        generators.start("stylegan2_encoder", "smoke").phases()


def test_an_encoder_learns_to_read_codes(taught):
    torch.manual_seed(0)
    encoder = generators.start("stylegan2_encoder", "smoke")
    assert isinstance(encoder, StyleEncoder)
    before = [value.clone() for value in encoder.generator.parameters()]
    steps = list(train(encoder, FACES, 40, **PLAIN))
    assert steps[-1].losses["encoder"]["codes"] < 0.7 * steps[0].losses["encoder"]["codes"]
    assert all(torch.equal(a, b) for a, b in zip(before, encoder.generator.parameters(), strict=True))
    assert encoder(FACES.images).shape == (4, 8, 16)


# ---------------------------------------------------------------------------------------------- augmentation


def test_augmentation_follows_the_discriminators_signs():
    augment = Augment(0.6, 100)
    assert augment(FACES.images) is FACES.images
    augment.follow(torch.ones(20, 1))
    assert augment.p == pytest.approx(0.2)
    augment.follow(torch.cat([torch.ones(10, 1), -torch.ones(10, 1)]))
    assert augment.p == 0
    still = Augment(0.0)
    still.follow(torch.ones(20, 1))
    assert still.p == 0


def test_augmentation_changes_each_picture_in_its_own_way():
    augment = Augment()
    augment.p.fill_(1)
    torch.manual_seed(0)
    same = FACES.images[:1].expand(6, -1, -1, -1)
    changed = augment(same)
    assert changed.shape == same.shape
    assert torch.isfinite(changed).all()
    assert len({round(float(one.mean()), 4) for one in changed}) == 6
    augment.p.fill_(1e-6)
    torch.testing.assert_close(augment(same), same, atol=1e-5, rtol=0)


def test_gradients_pass_through_the_augmentation():
    augment = Augment()
    augment.p.fill_(0.5)
    images = FACES.images.clone().requires_grad_()
    augment(images).square().sum().backward()
    assert images.grad.abs().sum() > 0


def test_a_grown_generator_begins_with_the_smaller_ones_pictures():
    half, reading, whole = (stage.config for stage in StyleGAN2.stages(READING))
    assert (half.size, reading.size, whole) == (16, 32, READING)
    small, large = (generators.start("stylegan2", one, seed).eval() for seed, one in enumerate((half, whole)))
    large.init_from(small)
    codes = large.sample(2, seed=0)
    torch.testing.assert_close(codes[:, : small.network.layers], small.sample(2, seed=0))
    with torch.no_grad():
        shown = large.network.synthesis(codes, "none")
        torch.testing.assert_close(shown, double(small.network.synthesis(codes[:, : small.network.layers], "none")))
    kept = {
        name for name, value in small.discriminator.state_dict().items() if name in large.discriminator.state_dict()
    }
    assert all(
        torch.equal(small.discriminator.state_dict()[name], large.discriminator.state_dict()[name]) for name in kept
    )
    assert large.discriminator.sizes[1:] == small.discriminator.sizes


def test_r3gan_compares_pictures_in_pairs_and_penalises_both_kinds():
    config = replace(Config.smoke(), read=0, perceptual=0, paired=True, path=0)
    model = generators.start("stylegan2", config).train()
    phases = {phase.name: phase for phase in model.phases()}
    assert list(phases) == ["generator", "discriminator", "smoothness"]
    with torch.no_grad():
        model.discriminator.b4.out.weight.zero_()  # a discriminator that says the same of all
    for name, loss in (("generator", "adversarial"), ("discriminator", "discriminator")):
        assert phases[name].losses(FACES)[loss].item() == pytest.approx(math.log(2), abs=1e-6)
    told = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])
    wanted = (math.log1p(math.exp(-2)) + math.log1p(math.exp(1))) / 2
    assert paired_loss(*told).item() == pytest.approx(wanted, rel=1e-6)
    steep = generators.start("stylegan2", config).train()
    torch.manual_seed(0)
    both = steep._penalty(FACES)["penalty"]
    alone = gradient_penalty(steep.discriminator, steep.augment(FACES.images))
    assert both > alone > 0


# ---------------------------------------------------------------------------------------------- the renderer's pupil

PUPIL = replace(
    Config.smoke(), size=32, pupil=True, read=1, perceptual=0, projected=True, target=0.6, adversarial=1, noise=False,
    mixing=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def rendered() -> Faces:
    return synthetic.render_faces(8, seed=2, size=64).resize(32)


def test_a_pupil_learns_to_show_what_factors_say(rendered):
    config = replace(PUPIL, adversarial=0, discriminator=0)
    pupil = generators.start("stylegan2", config)
    assert not pupil.mirrored
    steps = list(train(pupil, rendered, 60, **PLAIN | {"batch": 8, "flips": False}))
    assert set(steps[0].losses) == {"reader", "mapping"}
    assert steps[-1].losses["reader"]["read"] < steps[0].losses["reader"]["read"] - 0.3
    codes = pupil.eval().read(rendered)
    assert codes.shape == (8, pupil.network.layers, config.w)
    assert torch.equal(codes[:, 0], codes[:, -1])
    shown = pupil(codes)
    missed = torch.stack([(shown - other).square().mean((1, 2, 3)) for other in rendered.images.split(1)])
    assert missed.diagonal().mean() < 0.9 * missed.mean(), "a face's own picture is nearer than others'"
    other = generators.start("stylegan2", "smoke")
    with pytest.raises(ValueError, match="did not learn from factors"):
        other.read(rendered)
    with pytest.raises(ValueError, match="train on rendered faces"):
        pupil.read(Faces(rendered.images))


def test_an_encoder_reads_what_a_pupil_knows_of_rendered_faces(rendered):
    """First alone, without a generated picture; the error counts in the variance of each number of a code."""
    torch.manual_seed(0)
    pupil = generators.start("stylegan2", replace(PUPIL, projected=False, adversarial=0)).eval().freeze()
    config = replace(StyleEncoder.Config.smoke(), known=1)
    reading, whole = (StyleEncoder(stage.config, pupil) for stage in StyleEncoder.stages(config))
    assert not whole.mirrored
    (phase,) = whole.phases()
    assert set(phase.losses(rendered)) == {"known", "codes", "pictures"}
    (phase,) = reading.phases()
    first, wanted = phase.losses(rendered), pupil.read(rendered)
    assert set(first) == {"known"}
    differences = ((reading(rendered.images) - wanted) / pupil.sample(4096).std(0)).square().mean()
    torch.testing.assert_close(first["known"], differences)
    steps = list(train(reading, rendered, 60, **PLAIN | {"batch": 8, "flips": False}))
    assert steps[-1].losses["encoder"]["known"] < 0.3 * first["known"]
    with pytest.raises(ValueError, match="factors"):
        phase.losses(Faces(rendered.images))
    other = StyleEncoder(config, generators.start("stylegan2", "smoke").eval().freeze())
    with pytest.raises(ValueError, match="only a generator that was the renderer's pupil"):
        other.phases()


def test_in_the_end_random_codes_vary_as_those_that_are_read(rendered, monkeypatch):
    """In each direction, also where codes hardly vary: there, others show what no face has."""
    pupil = generators.start("stylegan2", PUPIL).eval()
    faces = rendered[[k % 8 for k in range(400)]]
    axes, _ = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(1)))
    deviations = torch.logspace(0.5, -1.5, 16)
    read = 3 + (torch.randn(400, 16, generator=torch.Generator().manual_seed(2)) * deviations) @ axes.T
    places = iter(read.split(256))
    monkeypatch.setattr(pupil, "_read", lambda some: (next(places), torch.zeros(())))
    monkeypatch.setattr("swaplib.generators.stylegan2.FITTED", 1500)
    pupil.on_train_end(faces)
    mapped = pupil.network.mapping(torch.randn(2000, 16, generator=torch.Generator().manual_seed(3))).detach()
    torch.testing.assert_close(mapped.mean(0), read.mean(0), atol=0.25, rtol=0)
    found = ((mapped - mapped.mean(0)) @ axes).std(0)
    assert (found[:4] / deviations[:4]).min() > 0.8
    assert (found[:4] / deviations[:4]).max() < 1.2
    assert found[8:].max() < 0.3, "0.1 to 0.03 wanted"
    assert torch.equal(pupil.network.mapping.w_avg, read.mean(0))


def test_a_projected_discriminator_joins_while_reading_goes_on(rendered):
    half, reading, seeing, whole = StyleGAN2.stages(PUPIL)
    assert [stage.config.size for stage in (half, reading, seeing, whole)] == [16, 32, 32, 32]
    phases = {stage.name: [p.name for p in generators.start("stylegan2", stage.config).phases()] for stage in
              (reading, seeing, whole)}  # fmt: skip
    assert phases == {
        "reading": ["reader", "mapping"],
        "seeing": ["reader", "mapping", "discriminator"],
        "whole": ["reader", "mapping", "discriminator"],
    }
    model = generators.start("stylegan2", whole.config).train()
    reader, _, discriminator = model.phases()
    assert set(reader.losses(rendered)) == {"read", "adversarial"}
    assert "adversarial" not in generators.start("stylegan2", seeing.config).phases()[0].losses(rendered)
    terms = discriminator.losses(rendered)
    assert 0 <= terms["accuracy"] <= 1
    terms["discriminator"].backward()
    assert all(parameter.grad is not None for parameter in discriminator.parameters)
    assert all(parameter.grad is None for parameter in model.network.parameters())
