"""LatentSwap: the official mixers' numbers, and what its paper says of it."""

from __future__ import annotations

from dataclasses import replace

import drawn
import official
import pytest
import torch

from swaplib import families, synthetic
from swaplib.families import latent_swap
from swaplib.families.latent_swap import Config, LatentSwap, Mixer
from swaplib.generators.encoder import StyleEncoder
from swaplib.generators.stylegan2 import StyleGAN2
from swaplib.judges.identity import identity_loss
from swaplib.training.loop import train
from swaplib.weights.filling import Fillable

FACES = drawn.faces(4, 32, 0)


@pytest.fixture
def family() -> LatentSwap:
    return families.start("latent_swap", "smoke").eval()


# ---------------------------------------------------------------------------------------------- mixers


class Mixed(Fillable, torch.nn.Module):
    """A mixer alone, which is filled as in the family."""

    name, official = LatentSwap.name, LatentSwap.official

    def __init__(self, mixer: Mixer):
        super().__init__()
        self.mixer = mixer


def official_weights(name: str) -> dict[str, torch.Tensor]:
    """As the authors' checkpoint has them."""
    tensors = {key: torch.zeros(shape) for key, shape in official.keys(name).items()}
    official.fill_tensors(tensors, name)
    return {f"identity_mixer.{key}": value for key, value in tensors.items()}


@pytest.mark.parametrize(
    ("name", "layers", "residual", "count"),
    [
        ("latentswap_mixer_1024", 18, 1.0, 56_687_616),
        ("latentswap_mixer_256", 14, 1.0, 44_090_368),
        ("latentswap_mixer_256_res05", 14, 0.5, 44_090_368),
    ],
)
def test_the_mixers_are_the_official_ones(name, layers, residual, count, tmp_path):
    torch.save({"state_dict": official_weights(name)}, tmp_path / "epoch=39-step=200000.ckpt")
    mixer = Mixed(Mixer(layers, 512, residual=residual)).load_official(tmp_path / "epoch=39-step=200000.ckpt").mixer
    assert sum(parameter.numel() for parameter in mixer.parameters()) == count
    given = official.inputs("latentswap_mixer_1024" if layers == 18 else "latentswap_mixer_256_res05")
    wanted = official.expected(name)["swapped"]
    with torch.no_grad():
        found = mixer(given["source"], given["target"])
    torch.testing.assert_close(found, wanted, atol=1e-5 * float(wanted.abs().max()), rtol=0)


def authors_names(mixer: Mixer) -> dict[str, torch.Tensor]:
    """A network for each layer, its linear layers at even numbers."""
    names = {}
    for what, stacked in (("weight", mixer.weights), ("bias", mixer.biases)):
        for k, values in enumerate(stacked):
            for layer, value in enumerate(values):
                names[f"identity_mixer.mixer.{layer}.{2 * k}.{what}"] = value if what == "weight" else value[0]
    return names


def test_the_authors_checkpoint_fills_the_mixer_and_nothing_else(family, tmp_path):
    path = tmp_path / "epoch=39-step=200000.ckpt"
    torch.save({"state_dict": {name: value + 1 for name, value in authors_names(family.mixer).items()}}, path)
    before = {name: value.clone() for name, value in family.state_dict().items()}
    assert family.load_official(path) is family
    for name, value in family.state_dict().items():
        assert torch.equal(value, before[name] + name.startswith("mixer.")), name


def test_other_mixers_are_refused_and_nothing_is_lost(family, tmp_path):
    path = tmp_path / "other.ckpt"
    layers = len(family.mixer.weights[0])
    for given, message in (
        ({"some.weight": torch.zeros(2)}, "other.ckpt doesn't hold LatentSwap's mixers: choose epoch=39-step=200000"),
        ({"identity_mixer.mixer.0.0.weight": torch.zeros(16, 16)}, "doesn't hold LatentSwap's mixers"),
        (authors_names(Mixer(layers + 1, 16)), rf"mixer.biases.0: there {layers + 1} x 1 x 32, here {layers} x 1 x 32"),
        (authors_names(Mixer(layers, 16, depth=3)), "of another build .* build the family with the generator"),
    ):
        torch.save({"state_dict": given}, path)
        before = [parameter.clone() for parameter in family.mixer.parameters()]
        with pytest.raises(ValueError, match=message):
            family.load_official(path)
        assert all(map(torch.equal, before, family.mixer.parameters()))
    with pytest.raises(FileNotFoundError, match="check the path"):
        family.load_official(tmp_path / "none.ckpt")


@pytest.mark.parametrize("depth", [2, 3, 5, 7])
def test_mixers_of_every_depth_see_their_own_layer_alone(depth):
    torch.manual_seed(0)
    mixer = Mixer(6, 8, depth)
    assert len(mixer.weights) == depth
    source, target = torch.randn(2, 3, 6, 8)
    found = mixer(source, target)
    assert found.shape == (3, 6, 8)
    for changed in ((source + torch.eye(6)[2, :, None], target), (source, target + torch.eye(6)[2, :, None])):
        same = torch.isclose(mixer(*changed), found).all(2).all(0)
        assert same.tolist() == [True, True, False, True, True, True]
    order = [2, 0, 1]
    torch.testing.assert_close(mixer(source[order], target[order]), found[order])


def test_with_its_last_layer_zeroed_a_mixer_returns_the_target():
    mixer = Mixer(4, 8)
    torch.nn.init.zeros_(mixer.weights[-1])
    torch.nn.init.zeros_(mixer.biases[-1])
    source, target = torch.randn(2, 3, 4, 8)
    assert torch.equal(mixer(source, target), target)
    assert latent_swap.latent_loss(mixer(source, target), target) == 0


def test_the_whole_has_the_papers_size():
    family = families.start("latent_swap", "paper")
    mixer = sum(parameter.numel() for parameter in family.mixer.parameters())
    generator = sum(parameter.numel() for parameter in family.generator.network.parameters())
    assert (mixer, mixer + generator) == (56_687_616, 87_057_676)
    assert [part.name for part in family.parts] == [f"w{k:02}" for k in range(18)]
    assert sum(parameter.numel() for parameter in Mixer(21, 512).parameters()) == 66_135_552  # StyleNeRF's


# ---------------------------------------------------------------------------------------------- losses


def test_losses_are_the_official_ones():
    given, wanted = official.inputs("latentswap_losses"), official.expected("latentswap_losses")
    identity = identity_loss(given["emb_swap"], given["emb_source"])
    latent = latent_swap.latent_loss(given["style_difference"], torch.zeros(5, 18, 512))
    torch.testing.assert_close(identity, wanted["id_loss"], rtol=1e-6, atol=0)
    torch.testing.assert_close(latent, wanted["lp_loss"], rtol=1e-6, atol=0)
    torch.testing.assert_close(identity + Config().latent * latent, wanted["partial_total"], rtol=1e-6, atol=0)


def test_the_shape_loss_asks_for_the_sources_shape_in_the_targets_pose(family):
    judge = family.form
    with torch.no_grad():
        source, target = judge(FACES.images[:2]), judge(FACES.images[2:])
        fused = {**target, "shape": source["shape"]}
        assert latent_swap.shape_loss(judge, fused, source, target) == 0
        missed = (judge.landmarks(target) - judge.landmarks(fused)).abs().mean() * 112
        torch.testing.assert_close(latent_swap.shape_loss(judge, target, source, target), missed)


# ---------------------------------------------------------------------------------------------- the family


def test_training_ignores_the_faces_but_for_their_number(family):
    losses = []
    for faces in (FACES, FACES.mirror()):
        torch.manual_seed(3)
        losses.append(family.phases()[0].losses(faces))
    assert losses[0] == losses[1]
    torch.manual_seed(4)
    assert family.phases()[0].losses(FACES) != losses[0]


def test_only_the_mixer_learns_through_the_frozen_generator(family):
    (phase,) = family.phases()
    assert phase.weight_decay == 0.01
    assert {id(parameter) for parameter in phase.parameters} == {id(p) for p in family.mixer.parameters()}
    for name, value in phase.losses(FACES).items():
        if value.requires_grad:
            family.zero_grad()
            value.backward(retain_graph=True)
            assert all(parameter.grad.any() for parameter in family.mixer.parameters()), name
    assert all(parameter.grad is None for part in (family.generator, family.embedder, family.form)
               for parameter in part.parameters())  # fmt: skip


def test_pairs_of_one_code_with_itself(monkeypatch):
    family = families.start("latent_swap", replace(Config.smoke(), same_pairs=1.0)).eval()
    seen = []
    monkeypatch.setattr(family.mixer, "forward", lambda source, target: seen.append((source, target)) or target)
    losses = family.phases()[0].losses(FACES)
    assert torch.equal(*seen[0])
    assert losses["latent"] == 0


def test_a_tiny_overfit_lowers_the_loss():
    torch.manual_seed(0)
    family = families.start("latent_swap", replace(Config.smoke(), learning_rate=1e-3, residual=0.0))
    steps = list(train(family, FACES, 60, batch=4, progress=False, workers=1, precision="fp32", device="cpu"))
    totals = [step.totals["mixer"] for step in steps]
    assert sum(totals[-10:]) < 0.8 * sum(totals[:10])


@pytest.mark.parametrize("space", ["z", "w"])
def test_the_mixer_may_work_on_one_vector(space):
    family = families.start("latent_swap", replace(Config.smoke(), space=space)).eval()
    assert [part.name for part in family.parts] == [space]
    source, target = family.sample(2, 1), family.sample(2, 2)
    images = family.decode(family.mix(source, target))
    assert images.shape == (2, 3, 32, 32)
    assert set(family.phases()[0].losses(FACES)) == {"identity", "latent", "shape"}
    if space == "z":
        with pytest.raises(ValueError, match="pictures have no code in Z"):
            family.encode(FACES)
    else:
        assert family.encode(FACES)["w"].shape == (4, 16)


def test_told_the_truth_it_learns_the_codes_of_true_swaps():
    """Where the renderer's pupil draws, the codes of true swaps are known: of exact ones, the mixers come near."""
    torch.manual_seed(0)
    pupil = families.ALL.everything["stylegan2"].start("stylegan2", replace(StyleGAN2.Config.smoke(), pupil=True))
    pupil.pupil.normalise.running_var.fill_(0.1)
    pupil.pupil.body[-1].weight.data *= 10  # its codes differ as much as random ones
    config = replace(Config.known(), size=32, generator_preset="smoke", encoder="", judges_preset="smoke")
    family = LatentSwap(config, pupil.eval().freeze(), *(getattr(families.start("latent_swap", "smoke"), name)
                                                          for name in ("embedder", "form")))  # fmt: skip
    assert not family.mirrored
    faces = synthetic.render_faces(8, 0, size=64)
    torch.manual_seed(0)
    (phase,) = family.phases()
    first = phase.losses(faces)["truth"]
    assert set(phase.losses(faces)) == {"truth"}
    optimiser = torch.optim.Adam(phase.parameters, 1e-3)
    for _ in range(200):
        optimiser.zero_grad()
        loss = phase.losses(faces)["truth"]
        loss.backward()
        optimiser.step()
    assert loss < 0.2 * first
    both = replace(config, identity=1, latent=1, shape=1)
    (beside,) = LatentSwap(both, *(getattr(family, name) for name in ("generator", "embedder", "form"))).phases()
    terms = beside.losses(faces)
    assert set(terms) == {"truth", "identity", "latent", "shape"}
    sum(terms.values()).backward()
    assert all(one.grad is not None for one in beside.parameters)
    codes = family.encode(faces)
    mixed = family.transfer({name: value.roll(-1, 0) for name, value in codes.items()}, codes)
    truth = family.generator.read(synthetic.true_swap(faces[[*range(1, 8), 0]], faces))
    missed, apart = (family.generator.compare_codes(family._stacked(one), truth) for one in (mixed, codes))
    assert missed < 0.3 * apart
    with pytest.raises(ValueError, match="of rendered faces only"):
        phase.losses(FACES)
    other = replace(Config.known(), size=32, generator_preset="smoke", encoder_preset="smoke", judges_preset="smoke")
    with pytest.raises(ValueError, match="the renderer's pupil"):
        families.start("latent_swap", other).phases()


def test_an_encoder_for_another_generator_is_refused(family):
    other = families.ALL.everything["stylegan2"].start("stylegan2", replace(StyleGAN2.Config.smoke(), size=64))
    encoder = StyleEncoder(StyleEncoder.Config.smoke(), other.eval().freeze()).eval().freeze()
    frozen = {name: getattr(family, name) for name in ("generator", "embedder", "form")}
    with pytest.raises(ValueError, match="this encoder's codes have 10 layers of 16 numbers, the generator's 8 of 16"):
        LatentSwap(family.config, **frozen, encoder=encoder).encode(FACES)


def test_samples_are_truncated_in_their_first_layers(family):
    codes = family._stacked(family.sample(2, seed=5))
    network = family.generator.network
    z = torch.randn(2, 16, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(codes, network.plus(network.mapping(z), 0.5, 4))
    assert not torch.equal(codes[:, 0], codes[:, -1])
