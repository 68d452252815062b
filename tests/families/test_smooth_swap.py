"""Smooth-Swap: what its paper says of it, at the paper's and at a small size."""

from __future__ import annotations

from dataclasses import replace

import drawn
import pytest
import torch
import torch.nn.functional as F

from swaplib import families, judges, weights
from swaplib.families.smooth_swap import Config, SmoothSwap
from swaplib.judges.identity import identity_loss
from swaplib.networks.ncsnpp import Block

FACES = drawn.faces(4, 32, 0)


@pytest.fixture
def family() -> SmoothSwap:
    return families.start("smooth_swap", "smoke").eval()


def test_the_generator_has_the_papers_size():
    family = families.start("smooth_swap", "paper")
    generator = [*family.projection.parameters(), *family.network.parameters()]
    assert sum(parameter.numel() for parameter in generator) == 16_464_405
    assert sum(parameter.numel() for parameter in family.network.parameters()) == 16_333_077
    blocks = [module for module in family.network.modules() if hasattr(module, "Dense_0")]
    assert (len(blocks), sum(block.Dense_0.out_features for block in blocks)) == (49, 5440)
    assert sum(parameter.numel() for parameter in family.discriminator.parameters()) == 28_864_129
    assert sum(parameter.numel() for parameter in family.embedder.parameters()) == 26_134_080


def test_it_returns_its_target_at_first(family):
    with torch.no_grad():
        assert torch.equal(family.swap(FACES.mirror(), FACES), FACES.images)


def test_one_pair_of_a_batch_is_a_face_with_itself(family):
    wanted = family.embedder(FACES.images)
    _, asked, _ = family._swapped(FACES)
    torch.testing.assert_close(asked, wanted[[0, 2, 3, 1]])


def test_the_whole_batch_has_one_self_pair(family, monkeypatch):
    assert (family._pair(8)[0] == torch.arange(8)).tolist() == [True] + 7 * [False]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    for rank, own in ((0, 1), (1, 0), (7, 0)):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        source, _ = family._pair(8)
        assert int((source == torch.arange(8)).sum()) == own
        assert sorted(source.tolist()) == list(range(8))
    with pytest.raises(ValueError, match="at least 3"):
        family._pair(2)


def test_a_self_pair_is_reconstruction(family):
    """With a face's own identity and the picture unchanged, only the discriminator's term is left to improve."""
    codes = family.embedder(FACES.images)
    assert identity_loss(family.embedder(FACES.images), codes) < 1e-6
    losses = family.phases()[0].losses(FACES)
    assert losses["change"] == 0  # at first, for every pair


def test_losses_against_their_formulas(family):
    for parameter in family.network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    swapped, wanted, _ = family._swapped(FACES)
    losses = family.phases()[0].losses(FACES)
    found = family.embedder(swapped)
    cosines = torch.stack([found[k] @ wanted[k] for k in range(4)])
    torch.testing.assert_close(losses["identity"], (1 - cosines).mean())
    torch.testing.assert_close(losses["change"], ((swapped - FACES.images) ** 2).sum() / FACES.images.numel())
    torch.testing.assert_close(losses["adversarial"], -torch.sigmoid(family.discriminator(swapped)).log().mean())


def test_gradients_reach_the_generator_alone(family):
    generator, discriminator = family.phases()[:2]
    sum(generator.losses(FACES).values()).backward()
    assert family.projection.weight.grad is not None
    assert all(parameter.grad is None for parameter in family.embedder.parameters())
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in family.network.parameters())
    family.zero_grad()
    losses = discriminator.losses(FACES)
    assert set(losses) == {"discriminator", "penalty"}
    sum(losses.values()).backward()
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in family.network.parameters())


def test_a_rare_penalty_is_a_phase_of_its_own():
    family = families.start("smooth_swap", replace(Config.smoke(), penalty_every=16))
    assert [(phase.name, phase.every) for phase in family.phases()] == [
        ("generator", 1), ("discriminator", 1), ("smoothness", 16)
    ]  # fmt: skip
    assert set(family.phases()[1].losses(FACES)) == {"discriminator"}
    assert family.phases()[2].shares == "discriminator"  # an Adam of its own would forget the penalty's weight


def test_what_half_the_size_taught_is_kept():
    config = replace(Config.smoke(), grown=True)
    half, whole = (stage.config for stage in SmoothSwap.stages(config))
    assert (half.size, whole) == (16, config)
    small, large = families.start("smooth_swap", half, seed=1), families.start("smooth_swap", whole, seed=2)
    own = large.discriminator.b32.conv0.weight.clone()
    large.init_from(small)
    for name in ("projection", "network"):
        theirs = small.get_submodule(name).state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in large.get_submodule(name).state_dict().items())
    assert torch.equal(large.discriminator.b16.conv0.weight, small.discriminator.b16.conv0.weight)
    assert torch.equal(large.discriminator.b32.conv0.weight, own)


def test_the_embedder_sees_a_jittered_picture_but_the_target_counts_as_it_is(family):
    jittered = families.start("smooth_swap", replace(Config.smoke(), jittered=True)).eval()
    with torch.no_grad():
        plain, shaken = (one.phases()[0].losses(FACES) for one in (family, jittered))
    assert float(shaken["identity"]) != pytest.approx(float(plain["identity"]), abs=1e-6)
    assert float(shaken["change"]) == float(plain["change"])
    jittered.phases()[0].losses(FACES)["identity"].backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in jittered.network.parameters())


def test_identities_are_mixed_along_the_sphere(family):
    codes = family.encode(FACES)
    mixed = family.mix(codes, family.encode(FACES.mirror()), {"identity": 0.5})
    torch.testing.assert_close(mixed["identity"].norm(dim=1), torch.ones(4))
    assert torch.equal(mixed["appearance"], FACES.mirror().images)


def test_an_untrained_embedder_teaches_nobody():
    family = families.start("smooth_swap", replace(Config.smoke(), embedder="identity_supcon"))
    with pytest.raises(ValueError, match=r"identity_supcon .* has no weights: train it .* SWAPLIB_WEIGHTS"):
        family.phases()


def test_own_weights_of_a_judge_go_before_the_released_ones(tmp_path, monkeypatch):
    judge = judges.build("identity", "smoke", seed=5)
    weights.save(judge, tmp_path / "identity_smoke.safetensors", weights.Card("d", 1, 1, 1.0, "h", "c", "l"))
    monkeypatch.setenv("SWAPLIB_WEIGHTS", str(tmp_path))
    found = judges.frozen("identity", "smoke")
    assert found.trained
    torch.testing.assert_close(found.trunk.conv1.weight, judge.trunk.conv1.weight, atol=1e-3, rtol=1e-3)
    family = families.start("smooth_swap", "smoke")
    torch.testing.assert_close(family.embedder.trunk.conv1.weight, found.trunk.conv1.weight)


def test_it_learns_to_change_what_the_embedder_sees():
    """A tiny overfit drives the identity loss down while the picture stays near."""
    torch.manual_seed(0)
    family = families.start("smooth_swap", Config.smoke()).train()
    phase = family.phases()[0]
    optimiser = torch.optim.Adam(phase.parameters, 2e-3)
    first = None
    for _ in range(60):
        losses = phase.losses(FACES)
        optimiser.zero_grad()
        (4 * losses["identity"] + losses["change"]).backward()
        optimiser.step()
        first = first or losses["identity"].item()
    assert losses["identity"].item() < 0.6 * first
    assert float(losses["change"]) < 0.2


def test_the_identity_is_heard_from_the_beginning():
    """Unit vectors become conditions of variance 1, as embedded times are in NCSN++."""
    family = families.build("smooth_swap", "printed")
    drawn_codes = torch.randn(500, family.projection.in_features, generator=torch.Generator().manual_seed(1))
    codes = F.normalize(drawn_codes, dim=1)
    assert family.projection(codes).std(0).mean().item() == pytest.approx(1, abs=0.05)


# ---------------------------------------------------------------------------------------------- told the truth

TOLD = replace(
    Config.known(), size=32, width=8, factors=(1, 2, 2), attention=(4,), discriminator_base=256, discriminator_most=16,
    embedder_preset="smoke", judges_preset="smoke", group=(3, 2),
)  # fmt: skip


def test_sources_and_truths_of_crossed_groups():
    family = families.start("smooth_swap", TOLD)
    torch.manual_seed(0)
    own = []
    for _ in range(20):
        source, truth = family._pair(12)
        place = torch.arange(12)
        group, person, shot = place // 6, place // 2 % 3, place % 2
        assert torch.equal(source // 6, group)
        assert (source % 2 != shot).all(), "a source in the target's own shot would show the truth"
        assert torch.equal(truth, source // 2 * 2 + shot)
        own.append((source // 2 % 3 == person).float().mean())
    assert 0.05 < torch.stack(own).mean() < 0.25
    with pytest.raises(ValueError, match=r"train on data\.Crossed"):
        family._pair(10)


def test_a_blended_generator_paints_by_a_mask_of_its_own():
    family = families.start("smooth_swap", TOLD)
    images, codes = drawn.faces(2, 32, 1).images, torch.zeros(2, family.embedder.config.dimensions)
    last = [module for module in family.network.all_modules if getattr(module, "out_channels", 0) == 24]
    assert len(last) == 3, "each level's output: a picture and a mask for each colour of 2 x 2 pixels"
    for bias, wanted in ((40, 0.5 * torch.ones_like(images)), (-40, images)):
        for module in last:
            torch.nn.init.zeros_(module.bias)
        last[-1].bias.data[:12], last[-1].bias.data[12:] = 0.5, bias
        torch.testing.assert_close(family(images, codes), wanted)


def test_a_modulated_network_scales_and_shifts():
    torch.manual_seed(0)
    block = Block(8, 8, 4, modulated=True)
    torch.nn.init.normal_(block.Conv_1.weight)
    x, condition = torch.randn(2, 8, 4, 4), torch.randn(2, 4)
    torch.nn.init.zeros_(block.Dense_0.weight)
    block.Dense_0.bias.data[:8], block.Dense_0.bias.data[8:] = -1, 0.3
    normal = block.Conv_1(F.silu(torch.full_like(x, 0.3)))
    torch.testing.assert_close(block(x, condition), (x + normal) / 2**0.5)
    assert [len(list(families.start("smooth_swap", one).projection.children())) for one in (TOLD, Config.smoke())] == [
        5,
        0,
    ]


def test_the_truth_costs_nothing_and_teaches_the_generator_alone():
    family = families.start("smooth_swap", TOLD).train()
    faces = drawn.faces(6, 32, 1)
    (phase,) = family.phases()
    terms = phase.losses(faces)
    assert set(terms) == {"truth", "truth_features"}
    assert all(value > 0 for value in terms.values())
    assert not any(value for value in family._truth_losses(*3 * [faces.images]).values())
    sum(terms.values()).backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in family.network.parameters())
    assert all(parameter.grad is None for parameter in family.classifier.parameters())


def test_two_embedders_and_the_mesh_compare_swaps_with_the_truth():
    """A swap that is the truth has no mesh that the truth lacks, and is who the truth is; one with a mesh isn't."""
    config = replace(TOLD, identity=1, change=1, truth_mesh=1, truth_identity=1)
    family = families.start("smooth_swap", config).eval()
    faces = drawn.faces(6, 32, 1)
    assert {"truth_mesh", "truth_identity"} < set(family.phases()[0].losses(faces))
    true = family._truth_losses(faces.images, faces.images, faces.images)
    assert all(abs(float(value)) < 1e-6 for value in true.values())
    mesh = faces.images + 0.1 * (1 - 2 * (torch.arange(32) % 2))
    wrong = family._truth_losses(mesh, mesh, faces.images)
    assert all(wrong[name] > 10 * true[name].abs() + 1e-4 for name in ("truth_mesh", "truth_identity"))


def test_the_finest_level_is_added_and_the_others_keep_their_scale():
    half, seeing, whole = SmoothSwap.stages(replace(TOLD, projected=True, adversarial=0.03, discriminator=1))
    assert (half.config.size, half.config.factors, half.config.attention) == (16, (2, 2), (4,))
    learns = [(bool(one.config.discriminator), bool(one.config.adversarial)) for one in (half, seeing, whole)]
    assert learns == [(False, False), (True, False), (True, True)], "the discriminator comes late, and first alone"
    assert [stage.name for stage in SmoothSwap.stages(TOLD)] == ["half", "whole"]
    small, large = (families.start("smooth_swap", stage.config, seed) for seed, stage in enumerate((half, whole)))
    torch.manual_seed(0)
    for parameter in small.network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    large.init_from(small)
    for mine, theirs in zip(large.network.all_modules[4:], small.network.all_modules[1:], strict=False):
        assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))
    added = [module for module in large.network.all_modules][len(small.network.all_modules) + 3 :]
    assert len(added) == 1 + 2 + 2, "resampling, two blocks, normalisation and colours"
    assert torch.equal(large.projection[0].weight, small.projection[0].weight)


def test_the_demo_goes_on_from_what_the_truth_taught():
    seeing, whole = SmoothSwap.stages(Config.demo())
    assert whole.config == Config.demo()
    assert seeing.config == replace(Config.demo(), adversarial=0)
    small = {name: getattr(TOLD, name) for name in (
        "size", "width", "factors", "attention", "discriminator_base", "discriminator_most", "embedder_preset",
        "judges_preset", "group",
    )}  # fmt: skip
    known, demo = families.start("smooth_swap", TOLD), families.start("smooth_swap", replace(Config.demo(), **small))
    torch.nn.init.normal_(known.network.all_modules[-1].weight)
    demo.init_from(known)
    for name in ("network", "projection"):
        both = (one.get_submodule(name).state_dict().values() for one in (demo, known))
        assert all(torch.equal(*pair) for pair in zip(*both, strict=True))


def test_the_projected_discriminator_asks_whose_picture_it_is():
    config = replace(TOLD, identity=1, change=1, projected=True, adversarial=1, discriminator=1)
    family = families.start("smooth_swap", config).train()
    generator, discriminator = family.phases()
    faces = drawn.faces(6, 32, 1)
    assert set(generator.losses(faces)) == {"truth", "truth_features", "identity", "change", "adversarial"}
    terms = discriminator.losses(faces)
    assert 0 <= terms["accuracy"] <= 1
    terms["discriminator"].backward()
    trained = {id(parameter) for parameter in discriminator.parameters}
    fixed = [one for one in family.discriminator.parameters() if id(one) not in trained]
    assert fixed
    assert all(one.grad is None for one in fixed)
    assert all(one.grad is not None for one in discriminator.parameters)
    codes = family.embedder(faces.images)
    assert not torch.allclose(family._judge(faces.images, codes), family._judge(faces.images, codes.roll(1, 0)))
