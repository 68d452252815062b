"""E4S: the official networks' and functions' numbers, and what its paper says of it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import drawn
import numpy as np
import official
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from swaplib import families, judges, latent, synthetic, weights
from swaplib.faces import E4S as REGIONS
from swaplib.faces import Faces, from_uint8, label_table, region, relabel
from swaplib.families import e4s, e4s_regions
from swaplib.families.e4s import E4S, Config
from swaplib.families.e4s_regions import TEXTURES
from swaplib.judges.augment import draw_object, occlude
from swaplib.judges.perceptual import feature_distance
from swaplib.latent import reenactment
from swaplib.metrics import absolute_error
from swaplib.networks.e4s import RegionEncoder, RegionMLPs, masked_synthesis, reach, resized
from swaplib.networks.resample import blur
from swaplib.networks.stylegan2 import Generator, Layer
from swaplib.photos import blending
from swaplib.training.loop import train
from swaplib.weights import published, published_names

FACES = drawn.faces(4, 32, 0)


@cache
def built() -> E4S:
    return families.start("e4s", "smoke").eval()


@pytest.fixture
def family() -> E4S:
    return families.start("e4s", "smoke").eval()


def close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-5) -> None:
    """Within a share of the greatest magnitude."""
    torch.testing.assert_close(found, wanted, atol=tolerance * float(wanted.abs().max()), rtol=0)


def numbers(network: torch.nn.Module, trained: bool = False) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad or not trained)


def label_maps(count: int, size: int, seed: int, regions: int = 12) -> torch.Tensor:
    """Random ones of blocks, with single pixels in between, uint8."""
    draw = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, regions, (count, size // 8, size // 8), generator=draw)
    labels = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)
    single = torch.rand(labels.shape, generator=draw) < 0.02
    return torch.where(single, torch.randint(0, regions, labels.shape, generator=draw), labels).to(torch.uint8)


# ---------------------------------------------------------------------------------------------- official networks


def official_tensors(name: str) -> dict[str, torch.Tensor]:
    layout = official.keys(name).items()
    tensors = {key: torch.zeros(shape) for key, shape in layout if not key.endswith("kernel")}
    official.fill_tensors(tensors, name)
    return tensors


def inside(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


@pytest.mark.slow
def test_the_networks_are_the_official_ones():
    tensors = official_tensors("e4s_net3_64")
    with torch.device("meta"):
        encoder, mlps = RegionEncoder(), RegionMLPs(12, 1280, 512, 13)
    encoder.load_state_dict(inside(tensors, "encoder."), assign=True)
    mlps.load_state_dict(inside(tensors, "MLPs."), assign=True)
    generator = published.build(published_names.from_rosinality(inside(tensors, "G.")), "E4S's file")
    labels, mean = official.inputs("e4s_net3_64").values()
    wanted, wider = official.expected("e4s_net3_64"), official.expected("e4s_net3_64_K17")
    with torch.no_grad():
        textures = encoder(official.uniform(8, "img", (1, 3, 256, 256), -1, 1), labels)
        close(textures, wanted["style_vectors"])
        codes = mlps(textures, mean)
        close(codes[:, [0, 6, 11], :, ::8], wanted["style_codes_cls_0_6_11"])
        close(masked_synthesis(generator.synthesis, codes, labels, 13), wanted["image"])
        random = official.uniform(8, "rand_codes", (1, 12, 18, 512), -1.2, 1.2)
        close(masked_synthesis(generator.synthesis, random, labels, 13), wanted["image_rand_codes"])
        for k in (0, 6, 11):  # the last layers are the only tensors of K = 17 that differ
            for what, shape in (("weight", (18 * 512, 512)), ("bias", (18 * 512,))):
                last = {f"MLPs.{k}.mlp.2.{what}": torch.zeros(shape)}
                official.fill_tensors(last, "e4s_net3_64_K17")
                setattr(mlps[k].mlp[2], what, torch.nn.Parameter(*last.values()))
            mlps[k].layers = 18
            found = mean + mlps[k](textures[:, k])
            close(found[..., ::8], wider["style_codes_cls_0_6_11"][:, (0, 6, 11).index(k)])


def test_the_layout_and_the_size_are_the_papers():
    with torch.device("meta"):
        family = families.start("e4s", "paper")
    own = {name: tuple(value.shape) for name, value in family.state_dict().items()}
    wanted = {name: shape for name, shape in official.keys("e4s_net3_1024").items() if not name.endswith("kernel")}
    networks = {name.replace("MLPs", "mlps"): shape for name, shape in wanted.items() if not name.startswith("G.")}
    assert {name: shape for name, shape in own.items() if name.startswith(("encoder.", "mlps."))} == networks
    theirs, _ = published_names.to_rosinality(inside(family.state_dict(), "generator."))
    assert {name: tuple(value.shape) for name, value in theirs.items()} == inside(wanted, "G.")
    parts = family.encoder, family.mlps, family.generator
    assert [numbers(part) for part in parts] == [85_051_008, 48_844_800, 30_370_060]
    assert sum(numbers(part) for part in parts) == 164_265_868
    assert sum(numbers(part, trained=True) for part in parts) == 161_762_847
    assert [part.shape for part in family.parts] == [(1280,)] * 12 + [(1024, 1024)]
    assert family.mean.shape == (18, 512)


def test_a_file_of_the_authors_layout_loads(tmp_path, family):
    path, wanted = tmp_path / "iteration_300000.pt", {}
    torch.manual_seed(2)
    for name, value in family.state_dict().items():
        if name.startswith(("encoder.", "mlps.", "generator.", "discriminator.")) and "w_avg" not in name:
            wanted[name] = torch.randn_like(value)
    theirs, _ = published_names.to_rosinality(inside(wanted, "generator."))
    state = {f"module.{name.replace('mlps', 'MLPs')}": value for name, value in wanted.items()
             if name.startswith(("encoder.", "mlps."))}  # fmt: skip
    state |= {f"module.G.{name}": value for name, value in theirs.items()}
    discriminator, _ = published_names.to_rosinality(inside(wanted, "discriminator."))
    mean = torch.randn_like(family.mean)
    torch.save({"state_dict": state, "latent_avg": mean, "D_state_dict": discriminator, "opts": {"K": 6}}, path)
    loaded = families.build("e4s", "smoke").load_official(path)
    assert loaded.started
    loaded = loaded.state_dict()
    for name, value in (wanted | {"mean": mean}).items():
        torch.testing.assert_close(loaded[name], value, msg=name)
    with pytest.raises(ValueError, match=r"E4S, but of another build than this one \(mlps.0.* build the family at"):
        families.start("e4s", replace(Config.smoke(), masked=8)).load_official(path)
    with pytest.raises(ValueError, match=r"iteration_300000\.pt fills a family: call families\.build"):
        published.load_official(path)
    torch.save({"g_ema": theirs}, tmp_path / "550000.pt")
    with pytest.raises(ValueError, match=r"550000\.pt doesn't hold E4S: choose iteration_300000\.pt"):
        family.load_official(tmp_path / "550000.pt")


# ---------------------------------------------------------------------------------------------- the masked generator


@cache
def generator() -> Generator:
    torch.manual_seed(0)
    network = Generator(64, 256, 16, 8, 8, 2).eval()
    for name, value in network.named_parameters():
        value.data.add_(torch.randn_like(value) * (0.2 if name.endswith(("bias", "strength")) else 0))
    return network


def straightforward(synthesis, codes: torch.Tensor, labels: torch.Tensor, masked: int) -> torch.Tensor:
    """As the authors write it: each layer once for each region, its mask cut out."""
    count = codes.shape[1]

    def cut(shown: list[torch.Tensor]) -> torch.Tensor:
        masks = F.one_hot(resized(labels, shown[0].shape[-1]), count).movedim(-1, 0)
        return sum(one * mask[:, None] for one, mask in zip(shown, masks, strict=True))

    def steer(layer: Layer, x: torch.Tensor, k: int) -> torch.Tensor:
        if k >= masked:
            return layer(x, codes[:, 0, k])
        shown = []
        for w in codes[:, :, k].unbind(1):
            style, scale = (one[..., None, None] for one in layer.steer(w))
            if layer.grow:
                found = blur(F.conv_transpose2d(x * style, layer.weight.transpose(0, 1), stride=2), 1)
            else:
                found = F.conv2d(x * style, layer.weight, padding=1)
            shown.append(found * scale)
        shown = cut(shown) + layer.noise_const * layer.noise_strength + layer.bias[:, None, None]
        return F.leaky_relu(shown, 0.2) * 2**0.5

    def show(torgb, x: torch.Tensor, k: int) -> torch.Tensor:
        if k >= masked:
            return torgb(x, codes[:, 0, k])
        bias = torgb.bias[:, None, None]
        return cut([torgb(x, w) - bias for w in codes[:, :, k].unbind(1)]) + bias

    return synthesis.walk(len(codes), steer, show)


@pytest.mark.parametrize("masked", [10, 6])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_the_generator_gives_the_numbers_of_the_straightforward_form(masked, size):
    synthesis = generator().synthesis
    codes = torch.randn(2, 12, 10, 8, generator=torch.Generator().manual_seed(1))
    labels = label_maps(2, size, 3)
    with torch.no_grad():
        wanted = straightforward(synthesis, codes, labels, masked)
        close(masked_synthesis(synthesis, codes, labels, masked), wanted)


def test_so_do_its_gradients():
    synthesis = generator().synthesis
    labels, shown = label_maps(1, 64, 4), torch.randn(1, 3, 64, 64)
    found = []
    for form in (straightforward, masked_synthesis):
        codes = torch.randn(1, 12, 10, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
        total = (form(synthesis, codes, labels, 8) * shown).sum()
        found.append(torch.autograd.grad(total, [codes, *synthesis.parameters()]))
    for wanted, one in zip(*found, strict=True):
        close(one, wanted, 1e-4)


@pytest.mark.parametrize("masked", [10, 6])
def test_equal_codes_in_all_regions_are_plain_stylegan2(masked):
    ws = torch.randn(2, 10, 8)
    with torch.no_grad():
        found = masked_synthesis(
            generator().synthesis, ws[:, None].expand(-1, 12, -1, -1), label_maps(2, 64, 5), masked
        )
        close(found, generator().synthesis(ws))


def test_one_region_for_all_pixels_needs_no_second_look(monkeypatch):
    monkeypatch.setattr("swaplib.networks.e4s._one_by_one", None)
    codes = torch.randn(2, 12, 10, 8)
    with torch.no_grad():
        found = masked_synthesis(generator().synthesis, codes, torch.full((2, 64, 64), 5), 10)
        close(found, generator().synthesis(codes[:, 5]))


def test_unmasked_layers_read_the_first_regions_codes_alone():
    codes, labels = torch.randn(1, 12, 10, 8), label_maps(1, 64, 6)
    with torch.no_grad():
        shown = masked_synthesis(generator().synthesis, codes, labels, 6)
        changed = codes.clone()
        changed[:, 1:, 6:] += 1
        assert torch.equal(masked_synthesis(generator().synthesis, changed, labels, 6), shown)
        changed[:, 0, 6:] += 1
        assert not torch.equal(masked_synthesis(generator().synthesis, changed, labels, 6), shown)


def test_a_regions_codes_change_what_they_reach_and_nothing_else():
    """A region that only maps from 32 px on show reaches a small part of the picture; one of the coarse maps, all."""
    labels = torch.zeros(1, 64, 64, dtype=torch.uint8)
    labels[:, 32:, :] = 6
    labels[:, 10:12, 50:52] = 11
    synthesis, codes = generator().synthesis, torch.randn(1, 12, 10, 8)
    with torch.no_grad():
        shown = masked_synthesis(synthesis, codes, labels, 10)
        for region, share in ((11, 0.05), (6, 1.0), (3, 0.0)):
            changed = codes.clone()
            changed[:, region] += 1
            where = (masked_synthesis(synthesis, changed, labels, 10) != shown).any(1)
            may = reach(synthesis, labels, region, 10)
            assert not (where & ~may).any()
            assert where.float().mean() > 0.5 * may.float().mean() or not may.any()
            assert may.float().mean() <= share
            assert may[labels == region].all()


def test_a_projected_discriminator_joins_late():
    config = replace(families.config("e4s", "smoke"), projected=True, late=True)
    alone, seeing, whole = families.kind("e4s").stages(config)
    names = {
        stage.name: [phase.name for phase in families.start("e4s", stage.config).phases()] for stage in (alone, seeing)
    }
    assert names == {"alone": ["inversion"], "seeing": ["inversion", "discriminator"]}
    family = families.start("e4s", whole.config).train()
    inversion, discriminator = family.phases()
    faces = drawn.faces(4, 32, 0)
    assert "adversarial" in inversion.losses(faces)
    terms = discriminator.losses(faces)
    assert set(terms) == {"discriminator", "accuracy"}
    terms["discriminator"].backward()
    assert all(one.grad is not None for one in discriminator.parameters)
    assert all(one.grad is None for one in family.generator.parameters())


def test_it_may_begin_at_half_the_size():
    """The half has the generator's coarse blocks, and what it learned is carried on; the finest block stays."""
    config = replace(families.config("e4s", "smoke"), projected=True, late=True, grown=True)
    stages = families.kind("e4s").stages(config)
    assert [stage.name for stage in stages] == ["half", "alone", "seeing", "whole"]
    assert sum(stage.share for stage in stages) == pytest.approx(1)
    half, alone = (families.start("e4s", stage.config, seed).eval() for seed, stage in enumerate(stages[:2]))
    assert (half.config.size, half.generator.synthesis.sizes, half.generator.layers) == (16, [4, 8, 16], 6)
    fine = alone.generator.synthesis.b32.conv1.weight.clone()
    for parameter in half.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    alone.init_from(half)
    assert torch.equal(alone.generator.synthesis.b32.conv1.weight, fine)
    for name in ("encoder", "mlps", "generator.synthesis.b16"):
        pairs = zip(alone.get_submodule(name).parameters(), half.get_submodule(name).parameters(), strict=True)
        assert all(torch.equal(*pair) for pair in pairs), name
    wider = families.start("e4s", replace(stages[1].config, encoder_width=12))
    with pytest.raises(RuntimeError, match="size mismatch"):
        wider.init_from(half)
    unprojected = families.kind("e4s").stages(replace(config, projected=False))
    assert [(stage.name, stage.config.size) for stage in unprojected] == [("half", 16), ("alone", 32), ("whole", 32)]
    assert set(half.phases()[0].losses(drawn.faces(2, 16, 0))) == {"pixels", "identity", "parsing", "perceptual"}


# ---------------------------------------------------------------------------------------------- masks and textures


def test_label_tables_are_the_official_ones():
    wanted = official.expected("e4s_mask_functions")
    for order, name in (("celebamask_hq", "celebamaskhq19"), ("bisenet", "bisenet19")):
        assert torch.equal(label_table(order, "e4s"), wanted[f"lut_{name}_to_12"][:19])


@pytest.mark.parametrize("hair", ["first", "last"])
def test_masks_are_recomposed_as_officially(hair):
    pairs, wanted = official.inputs("e4s_mask_functions"), official.expected("e4s_mask_functions")
    mask, holes = e4s_regions.swap_mask(pairs["source"], pairs["target"], hair == "first")
    assert torch.equal(mask, wanted[f"swapped_hair{hair}"])
    assert torch.equal(holes, wanted[f"hole_hair{hair}"] > 0)


@given(st.integers(0, 2**31))
def test_recomposing_keeps_the_background_and_itself(seed):
    source, target = label_maps(2, 16, seed), label_maps(2, 16, seed + 1)
    before = source.clone(), target.clone()
    mask, holes = e4s_regions.swap_mask(source, target)
    assert torch.equal(mask == 0, target == 0)
    assert int(mask.max()) < 12
    assert (mask[holes] == REGIONS.index("skin")).all()
    same, none = e4s_regions.swap_mask(target, target)
    assert torch.equal(same, target)
    assert not none.any()
    assert torch.equal(source, before[0])
    assert torch.equal(target, before[1])


def test_the_canvas_is_painted_step_by_step():
    source, target = label_maps(2, 64, 5), label_maps(2, 64, 6)
    canvases = [*e4s_regions.paint_mask(source, target).values()]
    mask, holes = e4s_regions.swap_mask(source, target)
    assert torch.equal(canvases[-1], mask)
    assert torch.equal(canvases[-2] == len(REGIONS), holes)
    assert holes.any()
    assert torch.equal(canvases[0] == 0, target == 0)
    assert set(canvases[0].unique().tolist()) == {0, len(REGIONS)}
    inner = torch.isin(source, torch.tensor([REGIONS.index(name) for name in e4s_regions.INNER])) & (target != 0)
    assert torch.equal(canvases[3][inner], source[inner])
    for before, after in itertools.pairwise(canvases):
        assert not ((after == len(REGIONS)) & (before != len(REGIONS))).any(), "what is painted stays painted"


@given(st.integers(0, 2**31))
def test_hair_goes_over_all_but_the_inner_face(seed):
    source, target = label_maps(2, 16, seed), label_maps(2, 16, seed + 1)
    mask = e4s_regions.transfer_hair_mask(source, target)
    hair = REGIONS.index("hair")
    assert not ((mask == hair) & (source != hair)).any()
    kept = torch.isin(target, torch.tensor([REGIONS.index(name) for name in ("eyes", "nose", "lip", "mouth")]))
    assert torch.equal(mask[kept], target[kept])
    assert torch.equal(mask == hair, (source == hair) & ~kept & (target != REGIONS.index("eye_glasses")))
    assert torch.equal(e4s_regions.transfer_hair_mask(target, target), target)


def test_textures_are_swapped_as_officially():
    given, wanted = official.inputs("e4s_style_and_blend_functions"), official.expected("e4s_style_and_blend_functions")
    source, target = given["driven_vec"], given["target_vec"]
    assert torch.equal(e4s_regions.swap_textures(source, target), wanted["vec_default"])
    torch.testing.assert_close(
        e4s_regions.swap_textures(given["driven_vec_zeroed"], target), wanted["vec_no_ear_no_teeth"]
    )
    torch.testing.assert_close(e4s_regions.swap_textures(source, target, mean_neck=True), wanted["vec_neck_interp"])


# ---------------------------------------------------------------------------------------------- blending


@cache
def blend_functions() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    return official.inputs("e4s_style_and_blend_functions"), official.expected("e4s_style_and_blend_functions")


def levels(images: torch.Tensor) -> torch.Tensor:
    """0 to 255, channels last, not rounded."""
    return (images[0].movedim(0, -1) + 1) * 127.5


@pytest.mark.parametrize("radius", [0, 5])
def test_soft_pasting_is_the_official_one(radius):
    inputs, wanted = blend_functions()
    pictures = [from_uint8(inputs[name].numpy())[None] for name in "AB"]
    found = levels(blending.lay(*pictures, blending.fade(inputs["mask"][None] > 0, radius)))
    torch.testing.assert_close(found, wanted[f"paste_radius{radius}"].float(), atol=1, rtol=0)


def test_bands_are_the_official_ones():
    inputs, wanted = blend_functions()
    rim, wide = blending.band(inputs["foreground"][:, 0], 5)
    assert torch.equal(rim, wanted["expansion5_border"][:, 0])
    assert torch.equal(wide, wanted["expansion5_full"][:, 0])


def test_laplacian_blending_is_the_official_one():
    inputs, wanted = blend_functions()
    pictures, share = [inputs[name].numpy() for name in "AB"], inputs["maskf"].numpy()
    found = blending.laplacian(*(from_uint8(one)[None] for one in pictures), torch.from_numpy(share)[None], 6)
    torch.testing.assert_close(levels(found)[::2, ::2], wanted["laplacian_blend_6"], atol=1e-3, rtol=0)
    # `blending` works at 1024 px.
    large = [from_uint8(cv2.resize(one, (1024, 1024)))[None] for one in pictures]
    found = levels(blending.laplacian(*large, torch.from_numpy(cv2.resize(share, (1024, 1024)))[None], 10))
    small = torch.from_numpy(cv2.resize(found.numpy(), (128, 128)))
    torch.testing.assert_close(small, wanted["blending_1024_128"].float(), atol=2, rtol=0)


@pytest.mark.parametrize("how", ["soft", "laplacian"])
def test_a_composed_swap_keeps_the_target_away_from_the_face(how):
    target, shown = FACES.images, -FACES.images
    mask = relabel(FACES.labels, target="e4s")
    found = e4s_regions.blend_swap(shown, target, mask, how=how)
    face = ~torch.isin(mask, torch.tensor([0, 4, 11]))
    rim, wide = blending.band(face, 1)
    if how == "soft":
        assert torch.equal(found.movedim(1, -1)[~wide], target.movedim(1, -1)[~wide])
        assert torch.equal(found.movedim(1, -1)[face & ~rim], shown.movedim(1, -1)[face & ~rim])
    else:
        far = ~(F.max_pool2d(face[:, None].float(), 15, 1, 7)[:, 0] > 0)
        assert far.any()
        assert (found - target).abs().mean(1)[far].mean() < (found - target).abs().mean(1)[face].mean() / 4
    same = e4s_regions.blend_swap(target, target, mask, how=how)
    torch.testing.assert_close(same, target, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [64, 100, 1024])
def test_the_rim_of_a_face_is_nearly_opaque(size):
    """.99 at the authors' 1024 px, and nothing from 11 pixels outside on, whatever the map's size."""
    inside = torch.zeros(1, size, size, dtype=torch.bool)
    inside[:, :, : size // 2] = True
    weights = e4s_regions.cover_face(inside)[0, size // 2]
    assert weights.shape == (size,)
    assert (weights[: size // 2] > 0.98).all()
    outside = weights[size // 2 :]
    pixels = outside.sum() * 1024 / size
    assert 3 < pixels < 8  # of 1024 across, about 5 of which lie outside
    assert (outside[-(-11 * size // 1024) :] == 0).all()


def test_a_fade_is_computed_once_for_each_map(monkeypatch):
    faces = relabel(FACES.labels, target="e4s") > 0
    both = torch.cat([faces, ~faces])
    apart = [e4s_regions._fade_rim.__wrapped__(one.numpy().tobytes(), tuple(one.shape)) for one in both]
    assert torch.equal(e4s_regions.cover_face(both), torch.stack(apart))
    monkeypatch.setattr(blending, "fade", None)
    assert torch.equal(e4s_regions.cover_face(both.flip(0)), torch.stack(apart[::-1])), "both are known by now"


def test_regions_are_averaged_over_the_pictures_that_show_them(family):
    first, second = family.encode(FACES), family.encode(FACES.mirror())
    first["mouth"], first["nose"] = torch.zeros_like(first["mouth"]), first["nose"].clone()
    found = family.average([first, second])
    torch.testing.assert_close(found["nose"], (first["nose"] + second["nose"]) / 2)
    assert torch.equal(found["mouth"], second["mouth"])
    assert torch.equal(found["mask"], first["mask"])
    assert family.average([first]) is first


def test_a_swap_is_laid_over_the_targets_own_pixels(family):
    source, target = FACES.mirror(), FACES
    codes, theirs = (family.encode(faces) for faces in (source, target))
    mixed = family.mix(codes, theirs)
    weights = family.cover(mixed, theirs)
    kept = torch.isin(mixed["mask"], torch.tensor([REGIONS.index(name) for name in ("background", "hair", "earring")]))
    kept &= mixed["mask"] == theirs["mask"]
    deep = kept & (F.max_pool2d((~kept)[:, None].float(), 5, 1, 2)[:, 0] == 0)
    assert deep.any()
    assert (weights[deep] == 0).all()
    found = latent.swap(family, source, target)
    assert torch.equal(found.movedim(1, -1)[deep], target.images.movedim(1, -1)[deep])
    assert not torch.equal(found, family.swap(source, target))
    with_hair = family.mix(codes, theirs, dict.fromkeys((*family.swap_parts, "hair"), 1.0))
    hair = with_hair["mask"] == REGIONS.index("hair")
    assert (family.cover(with_hair, theirs)[hair] > 0.4).all()


@pytest.mark.parametrize("seed", range(4))
def test_what_is_before_the_targets_face_stays_before_it(family, seed):
    """A hand, a bar or a microphone, labelled as background, stays the target's but for its rim."""
    picture, cover = draw_object(FACES.size, np.random.default_rng(seed))
    hidden = torch.from_numpy(cover) > 0.5
    target = replace(FACES, images=torch.where(hidden, torch.from_numpy(picture).movedim(-1, 0), FACES.images))
    target = replace(target, labels=torch.where(hidden, 0, FACES.labels))
    found = latent.swap(family, FACES.mirror(), target)
    deep = F.max_pool2d((~hidden)[None].float(), 3, 1, 1)[0] == 0
    assert deep.any()
    assert torch.equal(found[:, :, deep], target.images[:, :, deep])


def test_rendered_objects_are_nearer_to_the_truth_than_the_face_is(family):
    """The true swap has the same object before the source's face."""
    source, target = (synthetic.render_faces(2, 0, start, size=64) for start in (0, 2))
    true, pictures = synthetic.true_swap(source, target), []
    for faces in (target, true):
        torch.manual_seed(3)
        pictures.append(occlude(faces, 1.0))
    hidden = region(true.labels, *synthetic.FACE_REGION) & (pictures[1].labels == 0)
    face = region(pictures[1].labels, *synthetic.FACE_REGION)
    assert hidden.any((1, 2)).all()
    found = latent.swap(latent.Driven(family, reenactment.load("exact")), source, pictures[0])
    there, beside = (absolute_error(found, pictures[1].images, where.float()) for where in (hidden, face))
    assert (there < 0.5 * beside).all()


def test_resizing_is_the_official_one_but_for_the_rim():
    image = official.inputs("e4s_bicubic_downsample")["img"]
    for factor, size in ((2, (24, 32)), (4, (12, 16))):
        wanted = official.expected("e4s_bicubic_downsample")[f"factor{factor}"]
        found = F.interpolate(image, size, mode="bicubic", antialias=True)
        torch.testing.assert_close(found[..., 2:-2, 2:-2], wanted[..., 2:-2, 2:-2], atol=1e-5, rtol=0)


# ---------------------------------------------------------------------------------------------- the family


def test_faces_without_labels_are_parsed(family):
    bare = Faces(FACES.images)
    assert torch.equal(family.labels(bare), relabel(family.parser.parse(FACES.images), target="e4s"))
    family.parser = judges.build("parser", "smoke")
    family.parser.trained = False
    with pytest.raises(ValueError, match=r"no labels \(faces.labels\), and the parser .*swaplib train parser"):
        family.encode(bare)
    assert family.encode(FACES)["mask"].dtype == torch.uint8


def test_bad_input_is_refused():
    with torch.no_grad():
        with pytest.raises(ValueError, match=r"takes 32 px pictures here, got 48 x 48: use faces.resize"):
            built().encode(FACES.resize(48))
        codes = built().encode(FACES)
        with pytest.raises(ValueError, match=r"a mask holds integers from 0 to 11, E4S's regions: use faces.relabel"):
            built().decode({**codes, "mask": torch.full_like(codes["mask"], 12)})
        with pytest.raises(ValueError, match="a mask holds integers"):
            built().decode({**codes, "mask": codes["mask"].float()})
    with pytest.raises(ValueError, match="a swap leaves the texture of 'hair' alone: choose from lip, eyebrows"):
        e4s_regions.control_amounts({"hair": 0.5})


def test_a_texture_tells_of_its_region_alone():
    """Pooling sees the whole picture through the maps' receptive fields; a region that isn't there is zero."""
    with torch.no_grad():
        codes = built().encode(FACES)
        for k, name in enumerate(REGIONS):
            shown = (codes["mask"] == k).flatten(1).any(1)
            assert torch.equal(codes[name].any(1), shown), name


@torch.no_grad()
def test_lambda_goes_from_the_swap_to_the_targets_textures():
    source, target = built().encode(FACES), built().encode(FACES.mirror()[[1, 2, 3, 0]])
    full = built().mix(source, target)
    assert torch.equal(full["mask"], e4s_regions.swap_mask(source["mask"], target["mask"])[0])
    ends = [built().mix(source, target, e4s_regions.control_amounts(strength)) for strength in (0.0, 1.0)]
    assert all(torch.equal(ends[0][name], full[name]) for name in full)
    assert all(torch.equal(ends[1][name], target[name]) for name in REGIONS)
    assert torch.equal(ends[1]["mask"], full["mask"])
    halfway = built().mix(source, target, e4s_regions.control_amounts({"lip": 0.5}))
    torch.testing.assert_close(halfway["lip"], (full["lip"] + target["lip"]) / 2)
    assert torch.equal(halfway["eyes"], full["eyes"])
    for name in set(REGIONS) - set(TEXTURES):
        assert torch.equal(full[name], target[name])


@torch.no_grad()
def test_hair_is_transferred_with_its_shape():
    source, target = built().encode(FACES), built().encode(FACES.mirror())
    found = e4s_regions.transfer_hair(source, target)
    assert torch.equal(found["hair"], source["hair"])
    assert torch.equal(found["mask"], e4s_regions.transfer_hair_mask(source["mask"], target["mask"]))
    assert built().decode(found).shape == (4, 3, 32, 32)


def test_it_starts_from_a_generator_that_has_weights(monkeypatch):
    monkeypatch.setattr(weights, "find_released", lambda *which: Path("nowhere"))
    family = families.start("e4s", "smoke")
    with pytest.raises(ValueError, match=r"E4S starts from a trained StyleGAN2, and this one has no weights: train it"):
        family.phases()


def test_a_clip_is_fitted_by_the_generator_alone(family):
    tuned = latent.tune(family, FACES, steps=3, progress=False)
    before, after = family.state_dict(), tuned.state_dict()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("generator.synthesis.") for name in moved)


def test_what_learns_is_what_the_code_trains():
    """Neither the mapping nor layers that no region steers; and each loss reaches all networks."""
    family = families.start("e4s", "smoke").train()
    still = {name for name, value in family.generator.named_parameters() if not value.requires_grad}
    assert still == {name for name, _ in family.generator.named_parameters()
                     if name.startswith(("mapping.", "synthesis.b32.conv1", "synthesis.b32.torgb"))}  # fmt: skip
    phase = next(phase for phase in family.phases() if phase.name == "inversion")
    losses = phase.losses(FACES)
    assert set(losses) == {"pixels", "perceptual", "identity", "parsing", "adversarial"}
    read = [family.encoder.input_layer[0].weight, family.mlps[0].mlp[2].weight, family.generator.synthesis.b4.const]
    for name, value in losses.items():
        assert all(gradient.any() for gradient in torch.autograd.grad(value, read, retain_graph=True)), name
    assert not any(p.requires_grad for judge in (family.embedder, family.parser, family.distance)
                   for p in judge.parameters())  # fmt: skip


def test_the_ablations_are_configs():
    for letter, changes in e4s.ABLATIONS.items():
        family = families.start("e4s", replace(Config.smoke(), **changes))
        assert len(family.parts[0].shape) == 1
        assert family.parts[0].shape[0] == (64 if letter == "D" else 160)
        losses = {"pixels", "identity", "parsing", "adversarial"} | ({"perceptual"} if letter == "D" else set())
        assert set(family.phases()[0].losses(FACES)) == losses


def test_losses_are_sums_over_scales_and_levels():
    torch.manual_seed(1)
    shown, truth = torch.rand(2, 2, 3, 32, 32) * 2 - 1

    distance = feature_distance(judges.load("identity_linear", "smoke"), own_size=True)
    wanted = distance(shown, truth).mean() + distance(F.avg_pool2d(shown, 4), F.avg_pool2d(truth, 4)).mean()
    found = e4s.scales_loss(distance, *(e4s.scales_features(distance, images, (1, 4)) for images in (shown, truth)))
    torch.testing.assert_close(found, wanted)
    ours, theirs = [shown, shown[:, :, 0, 0]], [truth, shown[:, :, 0, 0]]
    cosine = (F.normalize(shown.flatten(1)) * F.normalize(truth.flatten(1))).sum(1).mean()
    torch.testing.assert_close(e4s.levels_loss(ours, theirs), 1 - cosine)


@pytest.mark.parametrize("over", ["styles", "textures"])
def test_optimised_codes_show_the_faces_better(family, over):
    with torch.no_grad():
        mask = family.labels(FACES)
        textures = family.encoder(FACES.images, mask)
        first = family.styles(textures)
    before = {name: value.clone() for name, value in family.state_dict().items()}
    seen = {}
    found = e4s.optimise(family, FACES, 12, 0.05, watch=seen.__setitem__, over=over)
    assert list(seen) == list(range(13))
    torch.testing.assert_close(seen[0], first)
    if over == "textures":
        assert found.shape == textures.shape
        found = family.styles(found).detach()
    assert torch.equal(seen[12], found)
    shorter = {}
    e4s.optimise(family, FACES, 3, 0.05, watch=shorter.__setitem__, over=over)
    assert torch.equal(seen[3], shorter[3])
    with pytest.raises(ValueError, match="choose styles or textures"):
        e4s.optimise(family, FACES, 1, over="pixels")

    def missed(styles: torch.Tensor) -> float:
        with torch.no_grad():
            losses = family.reconstruction(family.show(styles, mask), family.judge(FACES.images))
        return sum(getattr(family.config, name) * float(loss) for name, loss in losses.items())

    assert missed(found) < 0.97 * missed(first)
    torch.testing.assert_close(found[:, :, family.config.masked :], first[:, :, family.config.masked :])
    assert all(torch.equal(value, before[name]) for name, value in family.state_dict().items())
    assert all(parameter.grad is None for parameter in family.parameters())


def test_a_tiny_overfit_lowers_the_loss():
    torch.manual_seed(0)
    family = families.start("e4s", replace(Config.smoke(), adversarial=0.0, learning_rate=5e-3))
    steps = list(train(family, FACES, 50, batch=4, progress=False, workers=1, precision="fp32", device="cpu"))
    pixels = [step.losses["inversion"]["pixels"] for step in steps]
    assert np.mean(pixels[-4:]) < 0.8 * np.mean(pixels[:4])


def test_colours_can_be_compared_by_themselves():
    """The term is 0 where only the lightness differs, and absent without a weight, as in the paper."""
    family = families.start("e4s", replace(Config.smoke(), colours=3))
    wanted = family.judge(FACES.images)
    tint = torch.tensor([0.2, 0.0, -0.2]).view(1, 3, 1, 1)
    assert float(family.reconstruction(FACES.images + 0.1, wanted)["colours"]) < 1e-6
    assert float(family.reconstruction(FACES.images + tint, wanted)["colours"]) == pytest.approx(0.2, rel=1e-4)
    assert "colours" not in families.start("e4s", "smoke").reconstruction(FACES.images, wanted)


def test_stages_follow_the_config():
    half, alone, seeing, whole = E4S.stages(Config.demo())
    assert [half.name, alone.name, seeing.name, whole.name] == ["half", "alone", "seeing", "whole"]
    assert (half.config.size, half.config.adversarial, half.config.discriminator) == (64, 0, 0)
    assert (alone.config.size, alone.config.adversarial, alone.config.discriminator) == (128, 0, 0)
    assert (seeing.config.adversarial, seeing.config.discriminator, whole.config) == (0, 1, Config.demo())
    plain = replace(Config.demo(), grown=False, projected=False)
    assert [stage.name for stage in E4S.stages(plain)] == ["alone", "whole"]
    (paper,) = E4S.stages(Config.paper())
    assert [paper.schedule(progress) for progress in (0.3, 0.34)] == [1.0, 0.1]
