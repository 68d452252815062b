"""Networks give the numbers of the official implementations, and have their sizes."""

from __future__ import annotations

from copy import deepcopy

import official
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from swaplib.networks import facevid2vid, psp, resample, stylegan2, winograd
from swaplib.networks.bisenet import BiSeNet
from swaplib.networks.discriminators import discriminator_loss, generator_loss
from swaplib.networks.ir_se import IRSE50
from swaplib.networks.ncsnpp import NCSNPP, Attention, Block
from swaplib.networks.resnet import resnet50
from swaplib.networks.stylegan2 import (
    Discriminator,
    Generator,
    Layer,
    batch_deviation,
    gradient_penalty,
    path_lengths,
)
from swaplib.training.optimiser import make_adam


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-5) -> None:
    """Within a share of the greatest magnitude."""
    torch.testing.assert_close(found, wanted, atol=tolerance * float(wanted.abs().max()), rtol=0)


def same_layout(network: nn.Module, name: str, part: str = "") -> None:
    found = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    wanted = {key: shape for key, shape in official.keys(name, part).items() if not key.endswith("resample_filter")}
    assert found == wanted


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# ---------------------------------------------------------------------------------------------- judges' networks


def test_ir_se50_is_the_official_one():
    network = official.fill(IRSE50(), "ir_se50")
    same_layout(network, "ir_se50")
    assert parameters(network) == 43_797_696
    wanted = official.expected("ir_se50")
    faces = official.uniform(12, "face", (2, 3, 112, 112), -1, 1)
    faces[1] = faces[1] * 0.5 + 0.3
    torch.testing.assert_close(network(faces), wanted["embedding"], atol=1e-4, rtol=0)
    whole = official.uniform(12, "img256", (1, 3, 256, 256), -1, 1)
    seen = nn.functional.adaptive_avg_pool2d(whole[:, :, 35:223, 32:220], 112)
    torch.testing.assert_close(network(seen), wanted["embedding_from_256"], atol=1e-4, rtol=0)


@pytest.mark.slow
def test_psps_and_e4es_encoders_are_the_official_ones():
    """Both have the same tensors, which are made once."""
    with torch.device("meta"):
        e4e, other = psp.Encoder4Editing(1024), psp.GradualStyleEncoder(1024)
    same_layout(e4e, "e4e_encoder_1024")
    assert parameters(e4e) == 267_136_704
    tensors = {name: torch.zeros(value.shape, dtype=value.dtype) for name, value in e4e.state_dict().items()}
    official.fill_tensors(tensors, "e4e_encoder_1024")
    for network in (e4e, other):
        network.load_state_dict(tensors, assign=True)
        network.latent_avg = torch.zeros(18, 512)
        network.eval()
    images, wanted = official.uniform(17, "img", (1, 3, 256, 256), -1, 1), official.expected("e4e_encoder_1024")
    close(other(images), official.expected("psp_encoder_1024")["w"], 1e-4)
    close(e4e(images), wanted["w"], 1e-4)
    maps = e4e.maps(images)
    e4e.maps = lambda _: maps  # the trunk is what takes time
    for stage in (0, 4, 9):
        close(e4e(images, stage), wanted[f"w_stage{stage}"], 1e-4)


@pytest.mark.parametrize(("size", "layers"), [(256, 14), (512, 16), (1024, 18)])
def test_encoders_have_a_style_for_each_layer_of_the_generator(size, layers):
    with torch.device("meta"):
        network = psp.GradualStyleEncoder(size)
    wanted = official.keys("e4e_encoder_1024")
    beyond = tuple(f"styles.{layer}." for layer in range(layers, 18))
    wanted = {name: shape for name, shape in wanted.items() if not name.startswith(beyond)}
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == wanted


def test_encoders_resize_pictures_and_add_the_mean_code():
    torch.manual_seed(0)
    network = psp.Encoder4Editing(64, 16, 8).eval()
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    codes = network(images)
    assert codes.shape == (2, 10, 8)
    close(network(nn.functional.interpolate(images, 256, mode="bicubic", antialias=True).clamp(-1, 1)), codes)
    network.latent_avg = torch.arange(80.0).view(10, 8) / 100
    close(network(images), codes + network.latent_avg)
    alike = network(images, 0) - network.latent_avg
    close(alike, codes[:, :1].expand_as(alike), 1e-4)
    assert "latent_avg" not in network.state_dict()


def test_bisenet_is_the_official_one():
    network = official.fill(BiSeNet(), "bisenet_19")
    same_layout(network, "bisenet_19")
    assert parameters(network) == 13_300_416
    wanted = official.expected("bisenet_19")
    logits = network(official.uniform(15, "img64", (1, 3, 64, 64), -2, 2))
    close(logits[..., ::2, ::2], wanted["out_img64"], 1e-4)
    labels = network(official.uniform(15, "img", (1, 3, 128, 160), -2, 2)).argmax(1)
    clear = wanted["margin_min_mask"].bool()
    assert torch.equal(labels[clear], wanted["labels"].long()[clear])


# ---------------------------------------------------------------------------------------------- FaceVid2Vid


def test_facevid2vid_has_the_official_size_and_names():
    with torch.device("meta"):
        network = facevid2vid.FaceVid2Vid()
    for part, count in {"generator": 100_988_176, "kp_detector": 41_940_047, "he_estimator": 30_254_838}.items():
        same_layout(network.get_submodule(part), "facevid2vid_256", part)
        assert parameters(network.get_submodule(part)) == count
    assert parameters(network) == 173_183_061


@pytest.mark.slow
def test_facevid2vid_is_the_official_one():
    with torch.device("meta"):
        network = facevid2vid.FaceVid2Vid()
    tensors = {name: torch.zeros(value.shape, dtype=value.dtype) for name, value in network.state_dict().items()}
    for part in ("generator", "kp_detector", "he_estimator"):
        named = {name.removeprefix(f"{part}."): v for name, v in tensors.items() if name.startswith(f"{part}.")}
        official.fill_tensors(named, "facevid2vid_256")
    tensors["kp_detector.down.weight"].copy_(facevid2vid.Shrink().weight)
    wanted, given = official.expected("facevid2vid_256"), official.inputs("facevid2vid_256")
    for name, sigma in wanted.items():
        if name.startswith("sigma:"):
            _set_singular_value(tensors, f"generator.{name.removeprefix('sigma:')}", float(sigma))
    network.load_state_dict(tensors, assign=True)
    network.eval()

    seen = {}
    for name in ("kp_detector", "generator.dense_motion_network"):
        network.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out))
    source, driver = (
        official.uniform(18, name, (1, 3, 16, 16), 0, 1).repeat_interleave(16, 2).repeat_interleave(16, 3)
        for name in ("source16", "driving16")
    )
    pictures = (network(source * 2 - 1, driver * 2 - 1) + 1) / 2
    torch.testing.assert_close(pictures[..., ::8, ::8], wanted["prediction_s8"], atol=5e-4, rtol=0)
    canonical, (_, visible, masks) = seen["kp_detector"], seen["generator.dense_motion_network"]
    own, theirs = network.he_estimator(source), network.he_estimator(driver)
    turn = facevid2vid.rotation(given["yaw"], given["pitch"], given["roll"])
    found = {
        "kp_canonical": canonical, "occlusion_map": visible, "mask_kp3_7": masks[:, [0, 3, 7], ::4, ::8, ::8],
        "deg_source_yaw": own.yaw, "deg_source_pitch": own.pitch, "deg_source_roll": own.roll,
        "he_source_t": own.t, "he_source_exp": own.expression.flatten(1), "he_driving_t": theirs.t,
        "kp_source": facevid2vid.moved(canonical, own), "kp_driving": facevid2vid.moved(canonical, theirs),
        "rotation_matrices": turn,
    }  # fmt: skip
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], atol=1e-4, rtol=0, msg=name)
    volume = network.generator.appearance(source)
    _, visible, _ = network.generator.dense_motion_network(volume, given["kpB_sum"], given["kpA"])
    torch.testing.assert_close(visible, wanted["given_occlusion_map"], atol=1e-4, rtol=0)


def _set_singular_value(tensors: dict[str, torch.Tensor], layer: str, sigma: float) -> None:
    """Make u and v such that uᵀ W v, by which spectral normalisation divides, is the fixture's."""
    weight, v = tensors[f"{layer}.weight_orig"].flatten(1), tensors[f"{layer}.weight_v"]
    v.copy_(nn.functional.normalize(weight.sum(0), dim=0))
    image = weight @ v
    tensors[f"{layer}.weight_u"].copy_(image * (sigma / image.square().sum()))


def test_facevid2vid_moves_nothing_by_itself():
    """A voxel's origins under equal keypoints are the voxel; each picture of a batch has its own answer."""
    torch.manual_seed(0)
    network = facevid2vid.FaceVid2Vid(4).eval()
    faces = torch.rand(2, 3, 128, 128) * 2 - 1
    volume = network.generator.appearance(faces)
    points = torch.rand(2, facevid2vid.KEYPOINTS, 3) - 0.5
    flow, visible, masks = network.generator.dense_motion_network(volume, points, points)
    close(flow, facevid2vid.grid(16, 32, 32, volume).expand_as(flow), 1e-5)
    assert visible.shape == (2, 1, 32, 32)
    close(masks.sum(1), torch.ones(2, 16, 32, 32))
    driven = network(faces, faces.flip(0))
    assert driven.shape == faces.shape
    assert driven.abs().max() <= 1
    close(network(faces[:1], faces[1:]), driven[:1], 1e-3)


def test_the_trunk_has_resnet_50s_size_and_names():
    trunk = resnet50()
    assert parameters(trunk) == 23_508_032
    assert trunk.outputs == 2048
    names = official.keys("latentswap_identity_embedder")
    inside = {name.removeprefix("resnet.") for name in names if name.startswith("resnet.") and ".fc." not in name}
    assert set(trunk.state_dict()) == inside


# ---------------------------------------------------------------------------------------------- NCSN++


def test_resampling_is_the_official_one():
    given, wanted = official.inputs("ncsnpp_ops_blocks"), official.expected("ncsnpp_ops_blocks")
    close(resample.double(given["x"]), wanted["up"])
    close(resample.half(given["x"]), wanted["down"])


@pytest.mark.parametrize("size", [(2, 2), (4, 10), (6, 66)])
@pytest.mark.parametrize("resized", [resample.half, resample.double])
def test_resampling_is_the_same_however_pictures_lie_in_memory(resized, size):
    """It is computed in other ways where channels are last, and where pictures are wide; autocast rounds nothing."""
    x = torch.randn(2, 3, *size)
    orders = torch.contiguous_format, torch.channels_last
    given = [x.contiguous(memory_format=order).requires_grad_() for order in orders]
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
        found = [resized(one) for one in given]
    assert [one.dtype for one in found] == [torch.float32] * 2
    torch.testing.assert_close(*found)
    weights = torch.randn_like(found[0])
    with torch.enable_grad():
        sums = [(one * weights).sum() for one in found]
    slopes = [torch.autograd.grad(total, it)[0] for total, it in zip(sums, given, strict=True)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("biggan_same", Block(16, 16, 64)),
        ("biggan_up", Block(16, 24, 64, resample.double)),
        ("biggan_down", Block(16, 24, 64, resample.half)),
        ("attn", Attention(16)),
    ],
)
def test_blocks_are_the_official_ones(name, block):
    official.fill(block, "ncsnpp_ops_blocks")
    given = official.inputs("ncsnpp_ops_blocks")
    found = block(given["bx"]) if name == "attn" else block(given["bx"], given["temb"])
    close(found, official.expected("ncsnpp_ops_blocks")[f"block_{name}"])


def test_ncsnpp_is_the_official_one():
    name = "ncsnpp_small_inputskip_outskip_fourier"
    network = NCSNPP(64, 16, (1, 2, 2), 1, (16,), 64)

    def key(ours: str) -> str:
        _, number, *rest = ours.split(".")
        return ".".join(["all_modules", str(int(number) + 3), *rest])

    official.fill(network, name, key)
    wanted = official.keys(name)
    assert {key(ours): tuple(value.shape) for ours, value in network.state_dict().items()} == {
        theirs: shape for theirs, shape in wanted.items() if theirs.startswith("all_modules") and
        int(theirs.split(".")[1]) > 2
    }  # fmt: skip
    given = official.inputs(name)
    # The official network turns the noise's scale into the vector, and divides by it at the end: modules 0 to 2.
    front = nn.ModuleDict({"all_modules": nn.ModuleDict({
        "0": nn.ParameterDict({"W": torch.zeros(16)}), "1": nn.Linear(32, 64), "2": nn.Linear(64, 64),
    })})  # fmt: skip
    waves, first, second = official.fill(front, name)["all_modules"].values()
    angles = given["time_cond"].log()[:, None] * waves["W"] * 2 * torch.pi
    vector = second(nn.functional.silu(first(torch.cat([angles.sin(), angles.cos()], 1))))
    found = network(given["x"], vector) / given["time_cond"][:, None, None, None]
    close(found, official.expected(name)["output"], 1e-4)


def test_ncsnpp_answers_zero_at_first():
    network = NCSNPP(32, 8, (1, 2), 1, (16,), 12)
    assert not network(torch.randn(2, 3, 32, 32), torch.randn(2, 12)).any()


# ---------------------------------------------------------------------------------------------- StyleGAN2


def test_the_discriminator_is_the_official_one():
    network = official.fill(Discriminator(64, 1024, 32), "nv_stylegan2_d")
    same_layout(network, "nv_stylegan2_d")
    given, wanted = official.inputs("nv_stylegan2_d"), official.expected("nv_stylegan2_d")
    close(network(given["img"]), wanted["logits_batch8"], 1e-4)
    close(network(given["img"][:2]), wanted["logits_batch2"], 1e-4)


@pytest.mark.parametrize(("base", "count"), [(32768, 28_864_129), (16384, 24_001_089)])
def test_the_discriminator_has_the_papers_size(base, count):
    assert parameters(Discriminator(256, base)) == count


def test_the_gradient_penalty_is_the_official_one():
    network = official.fill(Discriminator(64, 1024, 32), "nv_stylegan2_d")
    images = official.uniform(61, "img", (4, 3, 64, 64), -1, 1)
    with torch.enable_grad():
        found = gradient_penalty(network, images)
    close(found, official.expected("nv_stylegan2_training")["r1_penalty"].mean(), 5e-4)


@pytest.fixture
def generator() -> Generator:
    """The official one's widths and weights, at 64 px."""
    return official.fill(Generator(64, 1024, 32, 32, 48), "nv_stylegan2_g")


@pytest.mark.parametrize("wide", [1 << 10, 1])
@pytest.mark.parametrize("strip", [1 << 21, 1500])
def test_the_generator_is_the_official_one(generator, strip, wide, monkeypatch):
    monkeypatch.setattr(stylegan2, "_STRIP", strip)  # at once, or a few rows after the other
    monkeypatch.setattr(stylegan2, "_WIDE", wide)  # by plain convolutions, or by winograd's
    same_layout(generator, "nv_stylegan2_g")
    given, wanted = official.inputs("nv_stylegan2_g"), official.expected("nv_stylegan2_g")
    w = generator.mapping(given["z"])
    close(generator.plus(w), wanted["ws_psi1"])
    close(generator.plus(w, 0.7), wanted["ws_psi07"])
    close(generator.plus(w, 0.5, 4), wanted["ws_psi05_cut4"])
    close(generator(given["z"], 0.7), wanted["img_from_z_psi07_const"])
    close(generator.synthesis(given["wplus"]), wanted["img_wplus_const"])
    close(generator.synthesis(given["wplus"], "none"), wanted["img_wplus_none"])


def test_with_gradients_the_generator_gives_the_same(generator):
    codes = official.inputs("nv_stylegan2_g")["wplus"]
    strips = generator.synthesis(codes)
    with torch.enable_grad():
        close(generator.synthesis(codes).detach(), strips, 1e-5)


@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_fewer_multiplications_give_the_same_convolution(batch, inputs, outputs, down, right):
    torch.manual_seed(batch + 10 * inputs + 100 * outputs)
    x, weight = torch.randn(batch, inputs, 4 * down + 2, 4 * right + 2), torch.randn(outputs, inputs, 3, 3)
    found = winograd.convolve(x, winograd.transformed(weight))
    close(found, nn.functional.conv2d(x, weight), 3e-5)


def test_prepared_kernels_follow_their_weights(generator, monkeypatch):
    monkeypatch.setattr(stylegan2, "_WIDE", 1)
    codes = official.inputs("nv_stylegan2_g")["wplus"]
    before = generator.synthesis(codes)
    generator.synthesis.b16.conv1.weight.mul_(-1)
    changed = generator.synthesis(codes)
    monkeypatch.setattr(stylegan2, "_WIDE", 1 << 10)
    close(changed, generator.synthesis(codes), 3e-5)
    assert (changed - before).abs().max() > 0.1


def test_prepared_kernels_follow_weights_that_learn(generator, monkeypatch):
    monkeypatch.setattr(stylegan2, "_WIDE", 1)
    codes = official.inputs("nv_stylegan2_g")["wplus"]
    weight = generator.synthesis.b16.conv1.weight
    before = generator.synthesis(codes)
    optimiser, weight.grad = make_adam([weight], 0.1), torch.ones_like(weight)
    optimiser.step()
    changed = generator.synthesis(codes)
    monkeypatch.setattr(stylegan2, "_WIDE", 1 << 10)
    close(changed, generator.synthesis(codes), 3e-5)
    close(changed, deepcopy(generator).synthesis(codes), 3e-5)
    assert (changed - before).abs().max() > 0.01


def test_noise_is_the_same_always_or_new_or_none(generator):
    codes = official.inputs("nv_stylegan2_g")["wplus"]
    torch.manual_seed(1)
    first = generator.synthesis(codes, "random")
    assert not torch.equal(generator.synthesis(codes, "random"), first)
    torch.manual_seed(1)
    assert torch.equal(generator.synthesis(codes, "random"), first)
    assert torch.equal(generator.synthesis(codes), generator.synthesis(codes))


@pytest.mark.parametrize(("name", "grow", "noise"), [("same", False, "nz"), ("up2", True, "nz2")])
def test_layers_are_the_official_modulated_convolution(name, grow, noise):
    given, wanted = official.inputs("nv_stylegan2_ops"), official.expected("nv_stylegan2_ops")
    layer = Layer(6, 5, 6, 16 if grow else 8, grow)
    layer.weight.copy_(given["wm"])
    layer.affine.weight.copy_(torch.eye(6) * 6**0.5)  # so that a style is what the layer is given
    layer.affine.bias.zero_()
    layer.noise_strength.fill_(1)
    layer.noise = lambda *_: given[noise]
    found = layer(given["xm"], given["st"])
    close(found, nn.functional.leaky_relu(wanted[f"modconv_fused_{name}_noise"], 0.2) * 2**0.5)


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_networks_have_the_official_layout(size):
    for network, part in ((Generator(size), "g"), (Discriminator(size), "d")):
        same_layout(network, f"nv_stylegan2_keys_{size}", part)


def test_the_largest_networks_have_the_papers_size():
    generator = Generator(1024)
    assert parameters(generator) == 30_370_060
    assert parameters(generator.mapping) == 2_101_248
    assert generator.layers == 18
    assert parameters(Discriminator(1024)) == 29_012_513


def test_mapping_follows_the_mean_of_w_in_training(generator):
    before = generator.mapping.w_avg.clone()
    codes = generator.mapping(torch.ones(2, 32))
    assert torch.equal(generator.mapping.w_avg, before)
    generator.train().mapping(torch.ones(2, 32))
    close(generator.mapping.w_avg, before + 0.005 * (codes[0] - before))


def gradients(network: nn.Module, loss: torch.Tensor, wanted: dict[str, torch.Tensor], what: str) -> None:
    """Derivatives of a loss are the official ones, for the parameters that a fixture has."""
    names = [key.removeprefix(f"{what}::") for key in wanted if key.startswith(f"{what}::")]
    assert len(names) == 4
    found = torch.autograd.grad(loss, [network.get_parameter(name) for name in names])
    for name, gradient in zip(names, found, strict=True):
        close(gradient, wanted[f"{what}::{name}"], 5e-4)


def test_losses_and_penalties_of_training_are_the_official_ones(generator):
    wanted = official.expected("nv_stylegan2_training")
    discriminator = official.fill(Discriminator(64, 1024, 32), "nv_stylegan2_d")
    images = official.uniform(61, "img", (4, 3, 64, 64), -1, 1)
    codes = official.uniform(61, "z", (4, 32), -2, 2)
    shown = official.uniform(61, "pl_noise", (4, 3, 64, 64), -1.7320508, 1.7320508)
    with torch.enable_grad():
        gradients(discriminator, 5 * gradient_penalty(discriminator, images), wanted, "r1_dtheta")
        lengths = path_lengths(generator.synthesis, generator.plus(generator.mapping(codes)), shown, "const")
        close(lengths, wanted["pl_lengths"], 5e-4)
        gradients(generator, (lengths - 0.3).square().mean(), wanted, "pl_dtheta")
        fake = discriminator(generator(codes))
        close(generator_loss([fake]), wanted["loss_G_logistic"])
        close(discriminator_loss(discriminator(images), [fake]), wanted["loss_D_logistic"])
        gradients(generator, generator_loss([fake]), wanted, "gadv_dtheta")


def test_a_batch_of_copies_does_not_vary():
    one = torch.randn(1, 5, 4, 4)
    assert batch_deviation(one.expand(4, -1, -1, -1), 4).max() < 1e-3
    assert batch_deviation(torch.randn(4, 5, 4, 4), 4).min() > 0.5
    assert batch_deviation(torch.randn(6, 5, 4, 4), 4).shape == (6, 1, 4, 4)  # groups of 3
