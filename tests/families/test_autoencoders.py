"""VAE-GAN, ALI and alpha-GAN: the swap by copy, paste and repair, and who learns from which loss."""

from __future__ import annotations

from dataclasses import replace

import drawn
import pytest
import torch

from swaplib import photos
from swaplib.families.autoencoders import ALI, VAEGAN, AlphaGAN, feature_loss, paste
from swaplib.networks.discriminators import PatchDiscriminator
from swaplib.weights import released

KINDS = (VAEGAN, ALI, AlphaGAN)


def build(kind, **changes):
    torch.manual_seed(0)
    return kind(replace(kind.Config.smoke(), **changes))


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def family(request):
    return build(request.param).eval()


@pytest.fixture(scope="module")
def faces():
    return drawn.faces(4, 32, 1)


@pytest.fixture(scope="module")
def others():
    return drawn.faces(4, 32, 2)


def reached(family, loss) -> set[str]:
    """Names of the networks that a loss sends gradient to."""
    family.zero_grad()
    loss.backward()
    parameters = family.named_parameters()
    return {name.split(".")[0] for name, p in parameters if p.grad is not None and p.grad.abs().max() > 0}


# ---------------------------------------------------------------------------------------------- sizes


def test_paper_size():
    paper = {kind.name: kind(kind.Config.paper()) for kind in KINDS}
    count = {name: {n: _count(m) for n, m in family.named_children()} for name, family in paper.items()}
    # Chosen to match RSGAN's: these hold them still.
    assert count == {
        "vae_gan": {"encoder": 9_051_712, "decoder": 8_074_947, "discriminators": 6_959_553},
        "ali": {"encoder": 11_149_120, "decoder": 9_123_523, "discriminators": 31_338_945},
        "alpha_gan": {"encoder": 8_003_008, "decoder": 8_074_947, "discriminators": 7_288_770},
    }


def _count(module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_released_demo_weights_stay_small(kind):
    family = kind(kind.Config.demo())
    parameters = dict(family.named_parameters())
    needed = released._needed(family)
    assert sum(v.numel() * (2 if name in parameters else v.element_size()) for name, v in needed.items()) < 8e6
    assert not any(name.startswith(("discriminators", "encoder.log_variance")) for name in needed)


# ---------------------------------------------------------------------------------------------- the contract


@torch.no_grad()
def test_codes_and_pictures_have_their_shapes(family, faces, others):
    codes = family.encode(faces)
    assert {name: tuple(code.shape[1:]) for name, code in codes.items()} == {p.name: p.shape for p in family.parts}
    images = family.swap(faces, others)
    assert images.shape == faces.images.shape
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1
    assert torch.equal(images, family.decode(family.mix(codes, family.encode(others))))
    halfway = family.swap(faces, others, {part.name: 0.5 for part in family.parts})
    assert torch.isfinite(halfway).all()


@torch.no_grad()
def test_swapping_a_face_with_itself_is_its_reconstruction(family, faces):
    assert torch.equal(family.swap(faces, faces), family.reconstruct(faces.images))


@torch.no_grad()
def test_random_pictures_follow_the_seed(family):
    images = family.generate(3, seed=3)
    assert images.shape == (3, 3, 32, 32)
    assert torch.equal(images, family.generate(3, seed=3))
    assert not torch.equal(images, family.generate(3, seed=4))
    assert not torch.equal(images[0], images[1])
    with pytest.raises(ValueError, match="not generative"):
        family.sample(3)


def test_wrong_input_is_refused(family, faces):
    with pytest.raises(ValueError, match=r"32 px pictures here, got 64 x 64: use faces.resize"):
        family.encode(faces.resize(64))
    with pytest.raises(ValueError, match=r"32 px pictures"):
        family.phases()[0].losses(faces.resize(64))
    with pytest.raises(ValueError, match=r"needs faces\.landmarks"):
        family.encode(replace(faces, landmarks=None))
    with pytest.raises(ValueError, match="not finite"):
        family.encode(replace(faces, landmarks=faces.landmarks * float("nan")))


# ---------------------------------------------------------------------------------------------- paste


def _dots(points, size=64) -> torch.Tensor:
    """A picture with a bright blob on the centre of each eye, (1, 3, S, S)."""
    ys, xs = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    grid = torch.stack([xs, ys], -1).float()
    blobs = [torch.exp(-((grid - points[eye].mean(0)) ** 2).sum(-1) / 8) for eye in (slice(36, 42), slice(42, 48))]
    return (sum(blobs) * 2 - 1).clamp(-1, 1).expand(1, 3, -1, -1)


def _brightest(image, near) -> torch.Tensor:
    """Centre of the brightness within 6 px of a point."""
    ys, xs = torch.meshgrid(*(torch.arange(n) for n in image.shape[-2:]), indexing="ij")
    grid = torch.stack([xs, ys], -1).float()
    weight = (image[0, 0] + 1) * ((grid - near).norm(dim=-1) < 6)
    return (grid * weight[..., None]).sum((0, 1)) / weight.sum()


def test_eyes_land_on_eyes():
    target = drawn.faces(1, 64, 5).landmarks
    turn, shift = torch.tensor([[0.9, -0.3], [0.3, 0.9]]), torch.tensor([12.0, -3.0])
    source = target @ turn.T + shift
    pasted = paste(_dots(source[0]), source, -torch.ones(1, 3, 64, 64), target, hull=0)
    for eye in (slice(36, 42), slice(42, 48)):
        wanted = target[0, eye].mean(0)
        assert (_brightest(pasted, wanted) - wanted).norm() < 0.25


def test_the_paste_fills_the_mask_and_nothing_else(faces, others):
    black = torch.zeros_like(faces.images)
    for hull in (0, 27):
        pasted = paste(black, faces.landmarks, others.images, others.landmarks, hull)
        changed = (pasted != others.images).any(1)
        # The mask follows the source's features: from eyes to eyes it is moved, not warped.
        inside = photos.rsgan_mask(_on(faces.landmarks, others.landmarks), 32, hull)
        assert (pasted * inside[:, None] == 0).all()
        assert not (changed & ~inside).any()
        assert (changed | ~inside).float().mean() > 0.99
        assert 0.05 < inside.float().mean() < 0.6


def _on(points, onto) -> torch.Tensor:
    """Landmarks moved so that the eyes' centres coincide: rotation and scale as the quotient of complex numbers."""
    complex_points, complex_onto = (torch.view_as_complex(p.double()) for p in (points, onto))
    (left, right), (u, v) = ((p[:, 36:42].mean(1), p[:, 42:48].mean(1)) for p in (complex_points, complex_onto))
    factor = (v - u) / (right - left)
    return torch.view_as_real((complex_points - left[:, None]) * factor[:, None] + u[:, None])


def test_a_picture_pasted_into_itself_stays_bit_for_bit():
    faces = drawn.faces(8, 64, 7)
    for hull in (0, 27):
        pasted = paste(faces.images, faces.landmarks, faces.images, faces.landmarks, hull)
        assert torch.equal(pasted, faces.images)


def test_pasting_leaves_its_inputs_alone(faces, others):
    before = others.images.clone()
    pasted = paste(faces.images, faces.landmarks, others.images, others.landmarks)
    assert torch.equal(others.images, before)
    assert not torch.equal(pasted, before)


# ---------------------------------------------------------------------------------------------- losses


def test_losses_have_weights(family, faces):
    for phase in family.train().phases():
        for name, value in phase.losses(faces).items():
            assert isinstance(getattr(family.config, name), (int, float)), name
            assert value.ndim == 0
            assert torch.isfinite(value)


def test_every_phase_trains_all_of_its_own(family, faces):
    for phase in family.train().phases():
        own = list(phase.parameters)
        family.requires_grad_(False)
        for parameter in own:
            parameter.requires_grad_(True).grad = None
        sum(phase.losses(faces).values()).backward()
        assert all(parameter.grad is not None for parameter in own), phase.name


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_phases_share_the_networks_out(kind):
    family = build(kind)
    owned = [id(parameter) for phase in family.phases() for parameter in phase.parameters]
    assert sorted(owned) == sorted(map(id, family.parameters()))


def test_discriminators_do_not_train_the_generator(family, faces):
    losses = family.train().phases()[-1].losses(faces)
    assert reached(family, sum(losses.values())) == {"discriminators"}


def test_vae_gan_keeps_the_networks_losses_apart(faces):
    family = build(VAEGAN).train()
    encoder, decoder, _ = (phase.losses for phase in family.phases())
    assert reached(family, encoder(faces)["kl"]) == {"encoder"}
    assert "encoder" in reached(family, encoder(faces)["features"])
    assert "encoder" not in reached(family, decoder(faces)["features"])
    assert "encoder" not in reached(family, decoder(faces)["adversarial"])


def test_alpha_gan_keeps_codes_and_pixels_apart(faces):
    family = build(AlphaGAN).train()
    losses = family.phases()[0].losses
    assert reached(family, losses(faces)["reconstruction"]) == {"encoder", "decoder"}
    assert reached(family, losses(faces)["code_adversarial"]) == {"encoder", "discriminators"}


def test_feature_loss_is_the_normal_log_likelihood():
    torch.manual_seed(0)
    ours, truth = torch.randn(2, 3, 4, 8, 8)
    likelihood = torch.distributions.Normal(ours, 1).log_prob(truth).mean() + 0.5 * torch.log(
        torch.tensor(2 * torch.pi)
    )
    assert feature_loss(ours, truth) == pytest.approx(-float(likelihood), abs=1e-5)
    assert feature_loss(truth, truth) == 0


def test_undecided_discriminators_cost_log_two_for_each_term(faces):
    log_two = 0.693147
    for kind, wanted in (
        (VAEGAN, [{}, {"adversarial": 2}, {"discriminator": 3}]),
        (ALI, [{"adversarial": 2}, {"discriminator": 2}]),
        (AlphaGAN, [{"adversarial": 2, "code_adversarial": 1}, {"discriminator": 3, "code_discriminator": 2}]),
    ):
        family = build(kind).train()
        for discriminator in family.discriminators.values():
            last = [m for m in discriminator.modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))][-1]
            torch.nn.init.zeros_(last.weight)
            torch.nn.init.zeros_(last.bias)
        for phase, terms in zip(family.phases(), wanted, strict=True):
            losses = phase.losses(faces)
            assert {name: losses[name].item() for name in terms} == pytest.approx(
                {name: count * log_two for name, count in terms.items()}, abs=1e-5
            )


def test_ali_wants_decoded_pairs_taken_for_encoded_ones(faces):
    family = build(ALI).eval()
    logits = torch.tensor([[3.0]] * len(faces) + [[-2.0]] * len(faces))  # pairs x, E(x), then D(z), z
    family.discriminators["pair"].forward = lambda images, codes: logits
    fooling, judging = (phase.losses(faces) for phase in family.phases())
    softplus = torch.nn.functional.softplus(torch.tensor([3.0, -3.0, 2.0, -2.0])).tolist()
    assert fooling["adversarial"] == pytest.approx(softplus[0] + softplus[2])
    assert judging["discriminator"] == pytest.approx(softplus[1] + softplus[3])


def test_a_discriminators_features_lead_to_its_logits(faces):
    discriminator = PatchDiscriminator(32, 8, 32).eval()
    features = discriminator.features(faces.images)
    assert features.shape == (4, 16, 8, 8)
    torch.testing.assert_close(discriminator.judge(features), discriminator(faces.images))


# ---------------------------------------------------------------------------------------------- learning


@pytest.mark.parametrize(("kind", "term"), [(VAEGAN, "features"), (AlphaGAN, "reconstruction")])
def test_a_tiny_overfit_drives_the_reconstruction_down(kind, term, faces):
    family = build(kind).train()
    phases = [phase for phase in family.phases() if not phase.name.startswith("discriminator")]
    optimisers = [torch.optim.Adam(phase.parameters, 2e-3) for phase in phases]
    history = []
    for _ in range(60):
        for phase, optimiser in zip(phases, optimisers, strict=True):
            loss = phase.losses(faces)[term]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        history.append(loss.item())
    assert sum(history[-5:]) / 5 < 0.5 * sum(history[:3]) / 3


def test_alis_two_sides_learn_to_beat_each_other(faces):
    family = build(ALI).train()
    generator_loss, judging = family.phases()
    for phase, term, steps in ((judging, "discriminator", 15), (generator_loss, "adversarial", 40)):
        optimiser = torch.optim.Adam(phase.parameters, 2e-3)
        history = []
        for _ in range(steps):
            loss = phase.losses(faces)[term]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            history.append(loss.item())
        assert sum(history[-5:]) / 5 < 0.7 * history[0], (term, history)
