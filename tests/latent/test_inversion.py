"""Inversion: a generator's own pictures are found again; tuning bends a copy; random numbers follow from the seed."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from swaplib import generators, judges
from swaplib.generators.stylegan2 import StyleGAN2
from swaplib.judges import perceptual
from swaplib.latent import inversion
from swaplib.latent.inversion import Config
from swaplib.networks.stylegan2 import Layer

SMOKE = Config.smoke()
FEW = replace(SMOKE, steps=4, tuning_steps=4)


@pytest.fixture(scope="module")
def generator() -> StyleGAN2:
    """Untrained: its pictures are patterns. Its noise shows, as a trained one's does."""
    generator = generators.build("stylegan2", "smoke").eval().requires_grad_(False)
    for layer in generator.network.synthesis.modules():
        if isinstance(layer, Layer):
            layer.noise_strength.fill_(0.1)
    return generator


@pytest.fixture(scope="module")
def judged() -> dict:
    """Small judges, so that steps are short."""
    return {
        "distance": perceptual.feature_distance(judges.load("identity_linear", "smoke")),
        "identity": judges.load("identity", "smoke"),
        "progress": False,
    }


@pytest.fixture(scope="module")
def own(generator) -> torch.Tensor:
    """Pictures of its own, which codes near the mean show."""
    return inversion.show(generator, generator.sample(2, seed=3, truncation=0.7))


def state(generator: StyleGAN2) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in generator.state_dict().items()}


def unchanged(generator: StyleGAN2, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


# ---------------------------------------------------------------------------------------------- codes


@pytest.mark.parametrize("space", ["w", "w+"])
def test_a_picture_of_its_own_is_found_again(generator, own, judged, space):
    before = state(generator)
    found = inversion.project(generator, own, space, config=replace(SMOKE, steps=60, noise=0), **judged)
    assert unchanged(generator, before)
    assert found.codes.shape == (2, 8, 16)
    assert torch.equal(found.pictures, inversion.show(found.generator, found.codes))
    mean = generator.network.plus(generator.network.mapping.w_avg[None]).expand(2, -1, -1)
    first = inversion.measure_quality(inversion.show(generator, mean), own, judged["distance"], judged["identity"])
    assert (found.quality["perceptual"] < 0.5 * first["perceptual"]).all()
    assert (found.quality["error"] < 0.6 * first["error"]).all()
    assert (found.quality["ms_ssim"] > first["ms_ssim"]).all()
    same = bool((found.codes == found.codes[:, :1]).all())
    assert same == (space == "w")


def test_the_seed_decides(generator, own, judged):
    once, again, other = (inversion.project(generator, own, seed=seed, config=FEW, **judged) for seed in (1, 1, 2))
    assert torch.equal(once.codes, again.codes)
    assert torch.equal(once.pictures, again.pictures)
    assert not torch.equal(once.codes, other.codes)
    config = replace(FEW, locality=1)
    once, again, other = (inversion.tune(generator, own, once.codes, seed, config, **judged) for seed in (1, 1, 2))
    assert torch.equal(once.pictures, again.pictures)
    assert not torch.equal(once.pictures, other.pictures)


def test_random_numbers_of_the_caller_are_left_alone(generator, own, judged):
    torch.manual_seed(5)
    wanted = torch.randn(3)
    torch.manual_seed(5)
    inversion.project(generator, own, config=FEW, **judged)
    assert torch.equal(torch.randn(3), wanted)


def test_company_changes_nothing(generator, own, judged):
    config = replace(FEW, steps=8)
    both = inversion.project(generator, own, config=config, **judged)
    alone = inversion.project(generator, own[1:], config=config, **judged)
    torch.testing.assert_close(both.codes[1:], alone.codes, atol=1e-3, rtol=0)
    assert (both.codes[0] - both.codes[1]).abs().max() > 0.05


def test_a_bare_network_is_inverted_alike(generator, own, judged):
    ours = inversion.project(generator, own, config=FEW, **judged)
    bare = inversion.project(generator.network, own, config=FEW, **judged)
    assert torch.equal(ours.codes, bare.codes)
    tuned = inversion.tune(generator.network, own, bare.codes, config=FEW, **judged)
    assert type(tuned.generator) is type(generator.network)
    assert torch.equal(tuned.pictures, inversion.tune(generator, own, bare.codes, config=FEW, **judged).pictures)


def test_a_generator_in_training_stays_as_it_is(own, judged):
    generator = generators.build("stylegan2", "smoke").train()
    before = state(generator)
    codes = inversion.project(generator, own, config=FEW, **judged).codes
    inversion.tune(generator, own, codes, config=replace(FEW, locality=1), **judged)
    assert unchanged(generator, before)
    assert generator.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in generator.network.parameters())


def test_noise_is_a_picture_s_own_and_may_stay(generator, own, judged):
    free, kept = (inversion.project(generator, own, config=replace(FEW, noise=noise), **judged) for noise in (1e5, 0))
    assert "noise" in free.history
    assert "noise" not in kept.history
    first, *_, last = (rows["noise"] for _, rows in free.history.groupby("step"))
    assert (last.to_numpy() < first.to_numpy()).all()


@torch.no_grad()
def test_correlation_is_that_of_neighbours_at_every_scale():
    torch.manual_seed(0)
    white = torch.randn(2, 1, 16, 16)
    assert (inversion.correlation([white]) < 0.05).all()
    smooth = torch.ones(2, 1, 16, 16)
    torch.testing.assert_close(inversion.correlation([smooth]), torch.full((2,), 4.0))  # 2 directions at 16 and 8 px
    several = [torch.randn(2, 2, 16, 16), torch.randn(2, 3, 8, 8), torch.randn(2, 1, 4, 4)]
    parts = sum(inversion.correlation([layer]) for one in several for layer in one.split(1, 1))
    torch.testing.assert_close(inversion.correlation(several), parts)
    small = torch.ones(2, 1, 4, 4)
    torch.testing.assert_close(inversion.correlation([smooth, small]), torch.full((2,), 6.0))


@given(st.floats(0, 1), st.floats(0, 0.5), st.floats(0, 0.5))
def test_learning_rates_rise_and_fall(progress, up, down):
    factor = inversion.ramp(progress, up, down)
    assert 0 <= factor <= 1
    if up <= progress <= 1 - down:
        assert factor == pytest.approx(1)


def test_the_ramp_is_the_projectors():
    factors = [inversion.ramp(progress, 0.05, 0.25) for progress in (0, 0.01, 0.05, 0.75, 0.875, 1)]
    assert factors == pytest.approx([0, 0.2, 1, 1, 0.5, 0])


# ---------------------------------------------------------------------------------------------- an encoder


def test_an_encoders_codes_are_refined(generator, own, judged):
    wanted = generator.sample(2, seed=3, truncation=0.7)
    shift = torch.randn(8, 16, generator=torch.Generator().manual_seed(0)) * 0.5

    def encoder(images: torch.Tensor) -> torch.Tensor:
        assert images.shape == (2, 3, 32, 32)
        return wanted + shift  # near the truth

    judges = {name: judged[name] for name in ("distance", "identity")}
    read = inversion.encode(generator, own, encoder, **judges)
    assert torch.equal(read.codes, wanted + shift)
    assert read.history["step"].tolist() == [0, 0]
    same = inversion.project(generator, own, start=read.codes, config=replace(SMOKE, steps=1), **judged)
    assert torch.equal(same.codes, read.codes)  # the first step's learning rate is 0
    refined = inversion.project(generator, own, start=read.codes, config=replace(SMOKE, steps=20), **judged)
    assert (refined.quality["perceptual"] < 0.7 * read.quality["perceptual"]).all()
    flat = inversion.project(generator, own, "w", read.codes, config=replace(SMOKE, steps=1), **judged)
    torch.testing.assert_close(flat.codes, read.codes.mean(1, keepdim=True).expand(-1, 8, -1))


# ---------------------------------------------------------------------------------------------- tuning


@pytest.fixture(scope="module")
def pivot(generator, judged) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures that the generator can't make well, and codes for them."""
    other = generators.build("stylegan2", "smoke", seed=1).eval()
    images = inversion.show(other, other.sample(2, seed=0))
    return images, inversion.project(generator, images, "w", config=replace(SMOKE, steps=10), **judged).codes


def test_tuning_lowers_the_error_and_leaves_the_original(generator, pivot, judged):
    images, codes = pivot
    before = state(generator)
    untuned = inversion.measure_quality(
        inversion.show(generator, codes), images, judged["distance"], judged["identity"]
    )
    tuned = inversion.tune(generator, images, codes, config=replace(SMOKE, tuning_steps=20, tuning_rate=3e-3), **judged)
    assert unchanged(generator, before)
    assert torch.equal(tuned.codes, codes)
    assert (tuned.quality["perceptual"] < 0.6 * untuned["perceptual"]).all()  # of both, by one generator
    assert (tuned.quality["error"] < 0.8 * untuned["error"]).all()
    assert torch.equal(inversion.show(tuned.generator, codes), tuned.pictures)
    assert torch.equal(tuned.generator(codes), tuned.pictures)
    assert isinstance(tuned.generator, StyleGAN2)
    assert not any(parameter.requires_grad for parameter in tuned.generator.parameters())
    assert torch.equal(tuned.generator.sample(2, 1), generator.sample(2, 1))  # the mapping isn't tuned


def test_tuning_ends_when_it_is_near_enough(generator, pivot, judged):
    images, codes = pivot
    done = inversion.tune(generator, images, codes, config=replace(SMOKE, stop=10.0), **judged)
    assert done.history["step"].max() == 1
    assert unchanged(done.generator, state(generator))
    assert torch.equal(done.pictures, inversion.show(generator, codes))
    nearer = replace(SMOKE, stop=float(done.history["perceptual"].max()) * 0.9, tuning_rate=3e-3)
    some = inversion.tune(generator, images, codes, config=nearer, **judged)
    worst = some.history.groupby("step")["perceptual"].max()
    assert 1 < len(worst) < SMOKE.tuning_steps
    assert (worst > nearer.stop).tolist() == [True] * (len(worst) - 1) + [False]


def test_locality_keeps_the_generator_elsewhere(generator, pivot, judged):
    images, codes = pivot
    elsewhere = generator.sample(8, seed=7, truncation=0.5)

    def moved(locality: float) -> float:
        config = replace(SMOKE, tuning_steps=10, tuning_rate=3e-3, locality=locality, stop=0)
        tuned = inversion.tune(generator, images, codes, config=config, **judged)
        assert ("locality" in tuned.history) == bool(locality)
        return float((tuned.generator(elsewhere) - generator(elsewhere)).abs().mean())

    assert moved(3.0) < 0.8 * moved(0)


@pytest.mark.parametrize("locality", [0, 0.5])
def test_each_is_tuned_as_if_alone(generator, pivot, judged, locality):
    images, codes = pivot
    before = state(generator)
    first = inversion.tune(generator, images[:1], codes[:1], config=replace(SMOKE, stop=0), **judged)
    stop = float(first.history["perceptual"].iloc[4:6].mean())  # ends this one early, the other later or never
    config = replace(SMOKE, stop=stop, locality=locality)
    alone = [inversion.tune(generator, images[[k]], codes[[k]], config=config, **judged) for k in range(2)]
    found = inversion.tune_each(generator, images, codes, config=config, **judged)
    assert unchanged(generator, before)
    for own, wanted in zip(found, alone, strict=True):
        assert own.history["step"].tolist() == wanted.history["step"].tolist()
        torch.testing.assert_close(own.pictures, wanted.pictures, atol=2e-3, rtol=0)
        torch.testing.assert_close(own.generator(own.codes), own.pictures)
        pd.testing.assert_frame_equal(own.quality, wanted.quality, atol=2e-3)
    assert (found[0].pictures - found[1].pictures).abs().max() > 0.05


def test_the_codes_of_locality_lie_around_the_pivots(generator, pivot):
    _, codes = pivot
    z = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    near = inversion._around(generator.network, codes, 4.0, z)
    torch.testing.assert_close((near - codes).square().sum((1, 2)).sqrt(), torch.full((2,), 4.0))


# ---------------------------------------------------------------------------------------------- what is told


def test_steps_are_told_and_noted(generator, own, judged):
    steps = []
    found = inversion.project(generator, own, config=FEW, watch=steps.append, **judged)
    assert [(step.step, step.steps) for step in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert torch.equal(steps[-1].codes, found.codes)
    assert not torch.equal(steps[1].codes, found.codes)
    history = found.history
    assert list(history) == ["step", "seconds", "picture", "perceptual", "pixels", "noise", "loss"]
    assert history["picture"].tolist() == [0, 1] * 4
    assert history["seconds"].is_monotonic_increasing
    config = FEW
    total = history["perceptual"] + config.pixels * history["pixels"] + config.noise * history["noise"]
    pd.testing.assert_series_equal(history["loss"], total, rtol=1e-4, check_names=False, check_dtype=False)
    assert found.quality.index.tolist() == [0, 1]
    assert list(found.quality) == ["error", "ms_ssim", "perceptual", "identity"]
    tuning = []
    inversion.tune(generator, own, found.codes, config=FEW, watch=tuning.append, **judged)
    assert len(tuning) == 4
    assert tuning[-1].generator is not generator


def test_equal_pictures_have_the_best_quality(own):
    """By the released judges."""
    best = inversion.measure_quality(own, own)
    assert best["error"].max() == 0
    assert best["perceptual"].max() == 0
    assert best["ms_ssim"].min() == pytest.approx(1)
    assert best["identity"].min() == pytest.approx(1)
    swapped = inversion.measure_quality(own.flip(0), own)
    assert (swapped["identity"] < best["identity"]).all()
    assert (swapped["perceptual"] > 0).all()


def test_the_papers_numbers():
    paper = Config.paper()
    assert (paper.steps, paper.samples, paper.learning_rate, paper.ramp_up, paper.ramp_down) == (
        450,
        600,
        0.01,
        0.05,
        0.25,
    )
    assert (paper.jitter, paper.jitter_ramp, paper.noise) == (0.05, 0.75, 1e5)
    assert (paper.tuning_steps, paper.tuning_rate, paper.stop, paper.radius) == (350, 3e-4, 0.06, 30)


def test_what_does_not_fit_gets_a_remedy(generator, own, judged):
    codes = torch.zeros(2, 8, 16)
    with pytest.raises(ValueError, match=r"are 48 x 64 px, the generator makes 32 x 32: resize .*Faces\.resize\(32\)"):
        inversion.project(generator, torch.zeros(1, 3, 64, 48), **judged)
    with pytest.raises(ValueError, match="add the batch axis"):
        inversion.tune(generator, own[0], codes, **judged)
    with pytest.raises(ValueError, match="add the batch axis"):
        inversion.project(generator, own[:0], **judged)
    for wrong in (codes[:1], codes[:, :6], codes[..., :4], codes[:, 0]):
        with pytest.raises(ValueError, match="take an encoder of this generator, and as many codes as pictures"):
            inversion.tune(generator, own, wrong, **judged)
        with pytest.raises(ValueError, match=r"pictures of this generator have \(2, 8, 16\)"):
            inversion.encode(generator, own, lambda _, wrong=wrong: wrong, judged["distance"])
    with pytest.raises(ValueError, match=r"unknown space 'z': choose w or w\+"):
        inversion.project(generator, own, "z", **judged)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        Config(steps=0)
    with pytest.raises(FloatingPointError, match="no longer finite in step 2: take a lower learning rate"):
        inversion.tune(generator, own, codes, config=replace(FEW, tuning_rate=1e30), **judged)
