"""Mask-Guided Portrait Editing: its official networks' numbers, and what its paper says of components and masks.

And the two systems from masks to faces that it was compared with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import drawn
import official
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from swaplib import families, judges
from swaplib.faces import MGPE, Faces, one_hot, relabel
from swaplib.families import mask_guided
from swaplib.families.mask_guided import Config, MaskGuided
from swaplib.families.mask_guided_regions import LOCAL, crop_boxes, enlarge, find_middles, paste_boxes, place_boxes
from swaplib.judges import parsing
from swaplib.judges.parsing import merge_classes, parsing_loss
from swaplib.networks.pix2pixhd import MultiscaleDiscriminator, feature_matching
from swaplib.training.model import linear
from swaplib.weights.published_names import mask_guided_name, mask_guided_place

FIXTURE = "mask_guided_portrait_editing"
FACES = drawn.faces(4, 32, 0)
MASK = relabel(FACES.labels, target="mgpe")


@pytest.fixture
def family() -> MaskGuided:
    return families.start("mask_guided", "smoke").eval()


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def gradient(loss: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss, inputs, retain_graph=True)[0]


# ---------------------------------------------------------------------------------------- sizes and official numbers


def test_the_papers_size():
    with torch.device("meta"):
        released, paper = families.start("mask_guided", Config.released()), families.start("mask_guided", "paper")
    found = {name: parameters(network) for name, network in official_networks(released).items()}
    assert found == {
        "G": 12_111_811,
        "encoder_left_eye": 10_101_568, "encoder_right_eye": 10_101_568, "encoder_mouth": 50_996_032,
        "encoder_skin": 20_591_936, "encoder_hair": 20_591_936,
        "decoder_left_eye": 4_720_128, "decoder_right_eye": 4_720_128, "decoder_mouth": 14_966_784,
        "decoder_skin": 7_345_920, "decoder_hair": 7_345_920,
        "decoder_left_eye_image": 4_397_251, "decoder_right_eye_image": 4_397_251,
        "decoder_mouth_image": 14_643_907, "decoder_skin_image": 20_592_643, "decoder_hair_image": 20_592_643,
        "D": 5_555_586, "D2": 5_555_586,
    }  # fmt: skip
    used = {name: count for name, count in found.items() if not name.startswith("D")}
    assert sum(used.values()) == 228_217_426
    assert sum(count for name, count in used.items() if not name.endswith("_image")) == 163_593_731
    # Plain auto-encoders lack the heads of the log-variances.
    heads = sum(parameters(encoder.log_variance) for encoder in released.encoders.values())
    assert parameters(released.encoders) - parameters(paper.encoders) == heads
    assert (paper.generator.body[0].in_channels, paper.discriminators["paired"].scales[0][0][0].in_channels) == (
        1536,
        14,
    )
    assert [part.shape for part in paper.parts] == [(512,)] * 5 + [(256, 256), (3, 256, 256)]


def official_networks(family: MaskGuided) -> dict[str, nn.Module]:
    """The authors' name of each network -> ours."""
    names = ["G", "D", "D2"][: 1 + len(family.discriminators)]
    for part in family.encoders:
        names += [f"encoder_{part}", f"decoder_{part}", f"decoder_{part}_image"]
    return {name: family.get_submodule(mask_guided_place(name)) for name in names}


def test_official_names_are_known():
    with torch.device("meta"):
        family = families.start("mask_guided", Config.released())
    for name, network in official_networks(family).items():
        theirs = official.keys(FIXTURE, "D" if name == "D2" else name)
        found = {mask_guided_name(key): shape for key, shape in theirs.items()}
        assert found == {key: tuple(value.shape) for key, value in network.state_dict().items()}, name


def write_official(folder: Path, family: MaskGuided, leave_out: tuple[str, ...] = ()) -> None:
    """The seeded weights of the fixture in files as the authors' code writes them, for a family at the paper's size."""
    made: dict[str, dict[str, torch.Tensor]] = {}
    for name in official_networks(family):
        if name.startswith(leave_out):
            continue
        key = name.replace("hair", "skin").replace("right", "left").replace("D2", "D")  # the same layout and weights
        if key not in made:
            made[key] = {tensor: torch.zeros(shape) for tensor, shape in official.keys(FIXTURE, key).items()}
            official.fill_tensors({k: v for k, v in made[key].items() if v.ndim}, FIXTURE)
        torch.save(made[key], folder / f"latest_net_{name}.pth")


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-4 * float(wanted.abs().max()), rtol=0)


def fixture_images() -> torch.Tensor:
    small = official.uniform(42, "img32", (2, 3, 32, 32), -1, 1)
    return F.interpolate(small, scale_factor=8, mode="nearest")


@torch.no_grad()
def test_the_eyes_networks_are_the_official_ones():
    config = replace(Config.released(), perceptual=0)
    region, wanted = LOCAL["left_eye"], official.expected(FIXTURE)
    made = {
        "encoder_left_eye": mask_guided.Encoder(config, region),
        "decoder_left_eye": mask_guided._feature_decoder(config, region),
        "decoder_left_eye_image": mask_guided._image_decoder(config, region),
    }
    for network in made.values():
        tensors = {official_name(network, name): value for name, value in network.state_dict().items()}
        official.fill_tensors({name: value for name, value in tensors.items() if value.ndim}, FIXTURE)
        network.eval()
    encoder, decoder, image_decoder = made.values()
    mask = official.inputs(FIXTURE)["label"]
    component = crop_boxes(fixture_images(), place_boxes(find_middles(mask, region), region.box, 256), region.box)
    mean, log_variance = encoder(component)
    close(mean, wanted["mu_left_eye"])
    close(log_variance[:, ::4], wanted["logvar_left_eye"])
    close(decoder(mean)[:, ::64], wanted["feat_left_eye"])
    close(image_decoder(mean)[..., ::4, ::4], wanted["recon_left_eye"])


def official_name(network: nn.Module, ours: str) -> str:
    """The authors' name of an eye's network's tensor."""
    part = {
        (mask_guided.Encoder, False): "encoder_left_eye",
        (mask_guided.Decoder, False): "decoder_left_eye",
        (mask_guided.Decoder, True): "decoder_left_eye_image",
    }[type(network), hasattr(network, "body") and isinstance(network.body[-1], nn.Tanh)]
    return next(name for name in official.keys(FIXTURE, part) if mask_guided_name(name) == ours)


@torch.no_grad()
def test_the_discriminator_is_the_official_one():
    discriminator = MultiscaleDiscriminator(len(MGPE) + 3)
    names = {mask_guided_name(name): name for name in official.keys(FIXTURE, "D")}
    tensors = {names[name]: value for name, value in discriminator.state_dict().items()}
    official.fill_tensors({name: value for name, value in tensors.items() if value.ndim}, FIXTURE)
    found = discriminator.eval()(one_hot(official.inputs(FIXTURE)["label"], len(MGPE)), fixture_images())
    wanted = official.expected(FIXTURE)
    for scale, (features, logits) in enumerate(found):
        close(features[:, ::128, ::3, ::3], wanted[f"D_scale{scale}_out0"])
        close(logits, wanted[f"D_scale{scale}_out1"])


@pytest.mark.slow
@torch.no_grad()
def test_the_parser_is_the_official_one(tmp_path):
    tensors = {name: torch.zeros(shape) for name, shape in official.keys(FIXTURE, "P").items()}
    official.fill_tensors({name: value for name, value in tensors.items() if value.ndim}, FIXTURE)
    torch.save(tensors, tmp_path / "latest_net_P.pth")
    judge = parsing.HelenParser().load_official(tmp_path / "latest_net_P.pth")
    assert parameters(judge) == 29_260_427
    logits = judge(fixture_images())
    close(logits.softmax(1)[..., ::16, ::16], official.expected(FIXTURE)["parsing_prob"])
    assert torch.equal(judge.parse(fixture_images()), logits.argmax(1).to(torch.uint8))


def test_files_of_other_parsers_are_refused(tmp_path):
    torch.save({"model.model.0.weight": torch.zeros(2, 2)}, tmp_path / "some.pth")
    with pytest.raises(ValueError, match=r"some.pth holds .*'s parser, but of another build .*network\.down"):
        parsing.HelenParser().load_official(tmp_path / "some.pth")
    torch.save({"model.weight": torch.zeros(2, 2)}, tmp_path / "some.pth")
    with pytest.raises(ValueError, match=r"some.pth doesn't hold Mask-Guided .*'s parser: choose latest_net_P.pth"):
        parsing.HelenParser().load_official(tmp_path / "some.pth")


@pytest.mark.slow
@torch.no_grad()
def test_official_files_give_the_official_pictures(tmp_path):
    config = replace(Config.released(), perceptual=0, enlarged=1)
    with torch.device("meta"):
        family = families.start("mask_guided", config)
    family = family.to_empty(device="cpu")
    write_official(tmp_path, family, leave_out=("D",))
    family.load_official(tmp_path).eval()
    mask, images, wanted = official.inputs(FIXTURE)["label"], fixture_images(), official.expected(FIXTURE)
    codes = {"mask": mask, "background": images}
    for name, component in family.components(images, mask).items():
        codes[name], log_variance = family.encoders[name](component)
        features, again = family.decoders[name](codes[name])[:, ::64], family.image_decoders[name](codes[name])
        step = {"skin": 8, "hair": 8, "mouth": 2}.get(name, 1)
        close(codes[name], wanted[f"mu_{name}"])
        close(log_variance[:, ::4], wanted[f"logvar_{name}"])
        close(features[..., ::step, ::step], wanted[f"feat_{name}"])
        step = 4 if name == "mouth" or "eye" in name else 16
        close(again[..., ::step, ::step], wanted[f"recon_{name}"])
    given = one_hot(mask, len(MGPE))
    close(family.generator.mask_encoder(given)[:, ::64, ::4, ::4], wanted["label_feature"])
    close(family.decode(codes)[..., ::8, ::8], wanted["recon_image"])
    swapped = {name: code if name in ("mask", "background") else code.flip(0) for name, code in codes.items()}
    close(family.decode(swapped)[..., ::8, ::8], wanted["swap_image"])


def test_files_of_the_authors_code_are_read(family, tmp_path):
    """Of narrow networks, under the authors' names; those of the log-variance are passed over."""
    narrow = families.build("mask_guided", replace(Config.smoke(), size=256, halvings=2, blocks=9))
    for name, network in official_networks(narrow).items():
        theirs = official.keys(FIXTURE, "D" if name == "D2" else name)
        ours = network.state_dict()
        named = [(key, mask_guided_name(key)) for key in theirs]
        tensors = {key: ours[own] + 1 for key, own in named if own in ours}
        tensors |= {"fc_var.0.weight": torch.zeros(2, 2)} if name.startswith("encoder") else {}
        if name != "D2":
            torch.save(tensors, tmp_path / f"7_net_{name}.pth")
    before = {name: value.clone() for name, value in narrow.state_dict().items()}
    assert narrow.load_official(tmp_path / "7_net_encoder_mouth.pth") is narrow
    for name, value in narrow.state_dict().items():
        assert torch.equal(value, before[name] + (not name.startswith("discriminators.unpaired"))), name
    with pytest.raises(ValueError, match=r"Editing's networks, but of another .* with Config.released"):
        family.load_official(tmp_path / "7_net_G.pth")
    with pytest.raises(FileNotFoundError, match=r"latest_net_G\.pth"):
        family.load_official(tmp_path)
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        family.load_official(tmp_path / "nowhere")
    (tmp_path / "7_net_decoder_hair.pth").rename(tmp_path / "hair.pth")
    with pytest.raises(ValueError, match=r"hair\.pth isn't named as the authors' files are"):
        family.load_official(tmp_path / "hair.pth")
    with pytest.raises(FileNotFoundError, match=r"7_net_decoder_hair\.pth"):
        family.load_official(tmp_path / "7_net_G.pth")


def test_families_without_a_published_file_say_so(tmp_path):
    with pytest.raises(ValueError, match=r"no published file fills rsgan: there are some for .*mask_guided"):
        families.build("rsgan", "smoke").load_official(tmp_path)


# ------------------------------------------------------------------------------------------------ masks and placement


def test_middles_of_components_and_where_there_are_none():
    mask = torch.zeros(2, 256, 256, dtype=torch.uint8)
    mask[0, 90:111, 80:101] = MGPE.index("image_left_eye")
    assert find_middles(mask, LOCAL["left_eye"]).tolist() == [[100, 90], [116, 96]]
    assert find_middles(mask, LOCAL["right_eye"]).tolist() == [[116, 160]] * 2
    assert find_middles(mask[:, ::4, ::4], LOCAL["mouth"]).tolist() == [[46, 32]] * 2
    official_middles = official.inputs(FIXTURE)
    for k, name in enumerate(("left_eye", "right_eye", "mouth")):
        assert torch.equal(
            find_middles(official_middles["label"], LOCAL[name]), official_middles["pos"][:, 2 * k : 2 * k + 2]
        )


def test_the_left_eye_is_the_one_on_the_left_of_the_picture():
    faces = drawn.faces(4, 128, 1)
    mask = relabel(faces.labels, target="mgpe")
    assert (find_middles(mask, LOCAL["left_eye"])[:, 1] < find_middles(mask, LOCAL["right_eye"])[:, 1]).all()
    assert torch.allclose(
        find_middles(mask, LOCAL["left_eye"]).float(), faces.landmarks[:, 36:42].mean(1).flip(1), atol=3
    )


@given(st.integers(-20, 80), st.integers(-20, 80), st.sampled_from([(8, 12), (20, 36), (2, 3), (5, 9)]))
def test_boxes_lie_in_the_picture_and_come_back_from_where_they_were_put(y, x, box):
    (top, left), *_ = at = place_boxes(torch.tensor([[y, x]]), box, 64)
    assert 0 <= top <= 64 - box[0]
    assert 0 <= left <= 64 - box[1]
    if box[0] // 2 <= y <= 64 - box[0] and box[1] // 2 <= x <= 64 - box[1]:
        assert (top, left) == (y - box[0] // 2, x - box[1] // 2)
    features = torch.rand(1, 3, *box) + 1
    placed = paste_boxes(features, at, 64)
    assert torch.equal(crop_boxes(placed, at, box), features)
    assert (placed != 0).sum() == features.numel()  # nothing around them
    torch.testing.assert_close(placed.sum(), features.sum())


def test_components_see_themselves_alone(family):
    found = family.components(FACES.images, MASK)
    assert {name: tuple(one.shape[1:]) for name, one in found.items()} == {
        "left_eye": (3, 4, 6), "right_eye": (3, 4, 6), "skin": (3, 32, 32), "hair": (3, 32, 32), "mouth": (3, 10, 18),
    }  # fmt: skip
    hair = (FACES.labels == 13)[:, None]
    assert torch.equal(found["hair"], FACES.images * hair)
    y, x = place_boxes(find_middles(MASK, LOCAL["left_eye"]), (4, 6), 32)[0]
    assert torch.equal(found["left_eye"][0], FACES.images[0, :, y : y + 4, x : x + 6])


@torch.no_grad()
def test_an_eyes_code_changes_the_generators_input_in_its_box_alone(family):
    codes = family.encode(FACES)
    before = family.placed(codes)
    after = family.placed(codes | {"left_eye": codes["left_eye"] + 1})
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["left_eye"]
    changed = (after["left_eye"] != before["left_eye"]).any(1)
    inside = (
        paste_boxes(
            torch.ones(4, 1, 2, 3), place_boxes((find_middles(MASK, LOCAL["left_eye"]) + 1) // 2, (2, 3), 16), 16
        )[:, 0]
        > 0
    )
    assert changed.any((1, 2)).all()
    assert not (changed & ~inside).any()
    assert [tuple(one.shape) for one in after.values()] == [(4, 8, 16, 16)] * 5


@torch.no_grad()
def test_the_background_is_the_targets_where_the_mask_says_so(family):
    generator = family.generator
    features = generator.background_encoder(FACES.images)
    nowhere, everywhere = torch.ones_like(MASK), torch.zeros_like(MASK)
    assert torch.equal(generator.behind(one_hot(everywhere, len(MGPE)), FACES.images), features)
    assert not generator.behind(one_hot(nowhere, len(MGPE)), FACES.images).any()
    behind = generator.behind(one_hot(MASK, len(MGPE)), FACES.images)
    assert torch.equal(behind, features * (MASK == 0)[:, None])


def test_enlarged_masks():
    mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
    mask[0, 16:60, 4:60], mask[0, 21:30, 11:30] = 1, MGPE.index("image_left_eye")
    larger = enlarge(mask, 1.5)
    rows, columns = (larger[0] == MGPE.index("image_left_eye")).nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (19, 31, 6, 34)
    assert torch.equal(larger == 0, mask == 0)
    assert torch.equal(enlarge(mask, 1), mask)
    assert int((larger != mask).sum()) == 13 * 29 - 9 * 19


# ----------------------------------------------------------------------------------------------------------- swaps


@torch.no_grad()
def test_the_printed_swap_takes_appearance_and_keeps_mask_and_background(family):
    source, target = family.encode(FACES.mirror()), family.encode(FACES)
    mixed = family.mix(source, target, dict.fromkeys(family.swap_printed, 1.0))
    taken = [name for name in mixed if torch.equal(mixed[name], source[name])]
    assert taken == list(family.swap_printed) == ["left_eye", "right_eye", "mouth", "skin"]
    assert family.swap_plus == (*family.swap_printed, "hair")
    assert [part.name for part in family.parts] == [*family.swap_plus, "mask", "background"]
    with_hair = family.mix(source, target, dict.fromkeys(family.swap_plus, 1.0))
    assert torch.equal(with_hair["hair"], source["hair"])


@torch.no_grad()
def test_a_plain_swap_takes_the_shape_of_the_inner_face_as_well(family):
    source, target = family.encode(FACES.mirror()), family.encode(FACES)
    assert family.swap_parts == (*family.swap_printed, "mask")
    mask = family.mix(source, target)["mask"]
    assert torch.equal(mask == 0, target["mask"] == 0), "the background stays the target's"
    inner = (source["mask"] != 0) & (source["mask"] != MGPE.index("hair")) & (target["mask"] != 0)
    assert torch.equal(mask[inner], source["mask"][inner])
    own = family.mix(target, target)
    assert all(torch.equal(own[name], target[name]) for name in own), "with itself, nothing changes"
    assert family.swap(FACES.mirror(), FACES).shape == FACES.images.shape


@torch.no_grad()
def test_faces_without_labels_are_parsed(family):
    unlabelled = Faces(FACES.images)
    parsed = replace(FACES, labels=family.parser.parse(FACES.images))
    assert torch.equal(family.swap(unlabelled, unlabelled), family.swap(parsed, parsed))
    lean = family.for_inference()
    assert not hasattr(lean, "image_decoders")
    assert torch.equal(lean.swap(unlabelled, unlabelled), family.swap(parsed, parsed))
    for name in ("pix2pixhd", "bicyclegan"):
        other = families.start(name, "smoke").eval()
        assert torch.equal(other.encode(unlabelled)["mask"], other.encode(parsed)["mask"])


def test_bad_input_is_answered_with_a_sentence(family):
    with pytest.raises(ValueError, match=r"takes 32 px pictures here, got 64 x 64: use faces.resize"):
        family.encode(drawn.faces(2, 64))
    with pytest.raises(ValueError, match="learns from pairs: give batches of at least 2 faces"):
        family.phases()[0].losses(FACES[0])
    with pytest.raises(ValueError, match="halves of a batch: give batches of at least 2 faces"):
        families.start("bicyclegan", "smoke").phases()[0].losses(FACES[0])
    for changes in ({"size": 48}, {"size": 16}, {"halvings": 2}):
        with pytest.raises(ValueError, match="size must be a power of two from 32 on and halvings at most"):
            families.start("mask_guided", replace(Config.smoke(), **changes))
    with pytest.raises(ValueError, match="settings 1 and 2 besides the full model, not 3"):
        Config.smoke().setting(3)


def test_a_parser_without_weights_neither_labels_nor_teaches(family):
    family.parser = judges.build("parser", "smoke")
    family.parser.trained = False
    with pytest.raises(ValueError, match=r"no labels \(faces.labels\), and the parser .* has no weights: prepare"):
        family.encode(Faces(FACES.images))
    with pytest.raises(ValueError, match=r"parser .* has no weights: train it"):
        family.phases()
    family.encode(FACES)


# ---------------------------------------------------------------------------------------------------------- training


def test_half_of_a_batch_is_paired(family):
    codes = family.encode(FACES)
    names = [part.name for part in family.parts[:-2]]
    own = {name: codes[name] for name in names}
    wanted = torch.tensor([0, 1, 3, 0])
    with torch.no_grad():
        found = family._pictures(own, MASK, FACES.images)
        moved = {name: code[wanted] for name, code in own.items()}
        torch.testing.assert_close(found, family.decode(codes | moved))
    assert [family._paired(count) for count in (2, 3, 8)] == [1, 2, 4]


def test_unpaired_pictures_are_not_compared_with_their_targets(family):
    """λ_global = λ_FM = 0 there (§3.5), and each half has discriminators of its own."""
    fakes = []
    pictures = family._pictures
    family._pictures = lambda *given: fakes.append(pictures(*given)) or fakes[-1]
    losses = family.phases()[0].losses(FACES)
    assert list(losses) == [
        "local", "whole", "adversarial", "features_matched", "adversarial_unpaired", "parsing",
    ]  # fmt: skip
    paired = {name: gradient(losses[name], fakes[0]).abs().amax((1, 2, 3)) > 0 for name in losses if name != "local"}
    assert {name: reached.tolist() for name, reached in paired.items()} == {
        "whole": [True, True, False, False],
        "adversarial": [True, True, False, False],
        "features_matched": [True, True, False, False],
        "adversarial_unpaired": [False, False, True, True],
        "parsing": [True] * 4,
    }


def test_losses_against_their_formulas(family):
    pictures, seen = family._pictures, []
    family._pictures = lambda *given: seen.append(pictures(*given)) or seen[-1]
    losses = family.phases()[0].losses(FACES)
    (fakes,) = seen
    components, codes = family.components(FACES.images, MASK), family.encode(FACES)
    again = {name: family.image_decoders[name](codes[name]) for name in components}
    torch.testing.assert_close(
        losses["local"], sum(((again[name] - components[name]) ** 2).mean() / 2 for name in components)
    )
    torch.testing.assert_close(losses["whole"], ((fakes[:2] - FACES.images[:2]) ** 2).mean() / 2)
    given = family._seen(MASK)
    unpaired = family.discriminators["unpaired"](given[2:], fakes[2:])
    torch.testing.assert_close(losses["adversarial_unpaired"], -sum(o.sigmoid().log().mean() for _, o in unpaired))
    generated = family.discriminators["paired"](given[:2], fakes[:2])
    real = family.discriminators["paired"](given[:2], FACES.images[:2])
    pairs = [(a, b) for (a, _), (b, _) in zip(generated, real, strict=True)]
    torch.testing.assert_close(losses["features_matched"], sum(((a - b) ** 2).mean() / 2 for a, b in pairs))
    told = family.phases()[1].losses(FACES)
    wanted = sum(
        -o.sigmoid().log().mean() - (1 - f.sigmoid()).log().mean()
        for (_, o), (_, f) in zip(real, generated, strict=True)
    )
    torch.testing.assert_close(told["discriminator"], wanted)


def test_discriminators_see_masks_with_pictures_at_two_sizes(family):
    seen = []
    for scale in family.discriminators["paired"].scales:
        scale[0].register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    outputs = family.discriminators["paired"].compared(family._seen(MASK), FACES.images, FACES.images)
    assert seen == [(8, 14, 32, 32), (8, 14, 16, 16)]
    assert feature_matching(outputs) == feature_matching(outputs, squared=True) == 0


def test_gradients_reach_what_a_phase_trains_alone(family):
    for phase, rest in zip(family.phases(), ("discriminators", "encoders"), strict=True):
        family.zero_grad()
        own = {id(parameter) for parameter in phase.parameters}
        for parameter in family.parameters():
            parameter.requires_grad_(id(parameter) in own)
        sum(phase.losses(FACES).values()).backward()
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in phase.parameters)
        assert all(parameter.grad is None for parameter in family.get_submodule(rest).parameters())
        assert all(parameter.grad is None for parameter in family.parser.parameters())


def test_classes_that_a_mask_unites_are_added():
    torch.manual_seed(0)
    logits = torch.randn(2, 19, 4, 4)
    shares = merge_classes(logits, "mgpe").exp()
    torch.testing.assert_close(shares.sum(1), torch.ones(2, 4, 4))
    whole = logits.softmax(1)
    torch.testing.assert_close(shares[:, MGPE.index("skin")], whole[:, 1] + whole[:, 3])  # and glasses
    torch.testing.assert_close(shares[:, MGPE.index("image_left_eye")], whole[:, 5])
    parser = judges.load("parser", "smoke")
    found = parsing_loss(parser, FACES.images, FACES.labels, "celebamask_hq")
    torch.testing.assert_close(found, F.cross_entropy(parser(FACES.images), FACES.labels.long()))
    own = relabel(parser.parse(FACES.images), target="mgpe")
    assert parsing_loss(parser, FACES.images, own, "mgpe") < parsing_loss(parser, FACES.images, own.flip(-2), "mgpe")
    assert torch.isfinite(parsing_loss(parser, F.interpolate(FACES.images, 64), MASK.repeat(1, 2, 2), "mgpe"))


def test_the_released_objective():
    config = replace(
        Config.released(), **{name: getattr(Config.smoke(), name) for name in (
            "size", "width_local", "most", "hidden", "z", "width", "halvings", "features", "blocks",
            "width_discriminators", "parser_preset", "judges_preset",
        )},
    )  # fmt: skip
    family = families.start("mask_guided", config)
    torch.manual_seed(0)
    first, second = (family.phases()[0].losses(FACES) for _ in range(2))
    assert "perceptual" in first
    assert first["local"] != second["local"]  # codes are drawn
    with torch.no_grad():
        assert torch.equal(family.eval().encode(FACES)["skin"], family.encode(FACES)["skin"])
    assert family.distance(FACES.images, FACES.images).max() == 0
    assert not any(name.startswith("distance") for name in family.for_inference().state_dict())
    regions = [float(at.mean()) for _, at in family._shares(MASK)]
    assert [count for count, _ in family._shares(MASK)] == [1, 1, 0.5, 0.5, 1]
    assert regions[2] > regions[4] > 0
    plain = mask_guided.half_square_loss(FACES.images.flip(0), FACES.images)
    assert family._whole(FACES.images.flip(0), FACES.images, MASK) > plain


def test_the_settings_of_the_papers_comparison():
    first, second = (families.start("mask_guided", Config.smoke().setting(number)) for number in (1, 2))
    assert [part.name for part in first.parts] == ["face", "mask", "background"]
    assert [part.name for part in second.parts] == [part.name for part in families.start("mask_guided", "smoke").parts]
    for family in (first, second):
        assert list(family.discriminators) == ["paired", "unpaired"], "both settings learn from both kinds of pairs"
        assert "adversarial_unpaired" in family.phases()[0].losses(FACES)
        with torch.no_grad():
            codes = family.eval().encode(FACES)
            behind = (codes["mask"] == 0)[:, None].expand_as(FACES.images)
            assert torch.equal(family.decode(codes)[behind], FACES.images[behind]), "the background is pasted"
            assert {one.shape[-1] for one in family.placed(codes).values()} == {16}
    face = first.components(FACES.images, MASK)["face"]
    assert torch.equal(face, FACES.images * (MASK != 0)[:, None])


def test_the_rate_falls_at_last():
    schedule = linear(0.2)
    assert [schedule(progress) for progress in (0, 0.2, 0.6, 1)] == pytest.approx([1, 1, 0.5, 0])
    assert linear()(0.25) == pytest.approx(0.75)


def overfitted(family, steps: int) -> list[dict[str, float]]:
    """What the generator's losses on four faces are, step by step, with discriminators that don't learn."""
    torch.manual_seed(0)
    phase, rows = family.train().phases()[0], []
    optimiser = torch.optim.Adam(phase.parameters, 5e-3, (0.5, 0.999))
    for _ in range(steps):
        losses = phase.losses(FACES)
        optimiser.zero_grad()
        sum(getattr(family.config, name) * value for name, value in losses.items()).backward()
        optimiser.step()
        rows.append({name: float(value.detach()) for name, value in losses.items()})
    return rows


def test_it_learns_a_few_faces():
    """Components and whole pictures come back."""
    first, *_, last = overfitted(families.start("mask_guided", "smoke"), 30)
    assert last["local"] < 0.4 * first["local"]
    assert last["whole"] < 0.4 * first["whole"]


# ---------------------------------------------------------------------------------------------- from masks to faces


@torch.no_grad()
def test_a_mask_has_one_face_in_pix2pixhd_and_many_in_bicyclegan():
    for name, part in (("pix2pixhd", None), ("bicyclegan", "appearance")):
        family = families.start(name, "smoke").eval()
        assert family.generator.mask_encoder[1].in_channels == len(MGPE)
        codes = family.encode(FACES)
        assert torch.equal(family.decode(codes), family.decode(codes))
        if part:
            other = family.decode(codes | {part: codes[part] + 1})
            assert (other - family.decode(codes)).abs().amax((1, 2, 3)).min() > 0


def test_they_are_as_large_as_what_they_are_compared_with():
    with torch.device("meta"):
        built = [families.start(name, "paper") for name in ("mask_guided", "pix2pixhd", "bicyclegan")]
    features = 5 * 256 * 256  # weights of the 1 x 1 convolution that takes the components' features
    assert [parameters(one.generator) for one in built] == [
        12_111_811, 12_111_811 - features, 12_111_811 - features + 8 * 256
    ]  # fmt: skip
    assert [parameters(one.discriminators) for one in built] == [11_111_172, 5_555_586, 11_111_172]


def test_random_codes_found_again_train_the_generator_alone():
    family = families.start("bicyclegan", "smoke")
    losses = family.phases()[0].losses(FACES)
    assert set(losses) == {"adversarial", "adversarial_random", "reconstruction", "kl", "code"}
    losses["code"].backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in family.encoder.parameters())
    assert family.generator.body[0].weight.grad.any()
    losses["reconstruction"].backward()
    assert family.encoder.head.weight.grad.any()


def test_they_learn_a_few_faces():
    first, *_, last = overfitted(families.start("pix2pixhd", "smoke"), 20)
    assert last["features_matched"] < 0.5 * first["features_matched"]
    first, *_, last = overfitted(families.start("bicyclegan", "smoke"), 20)
    assert last["reconstruction"] < 0.6 * first["reconstruction"]


def test_projected_discriminators_join_late():
    config = replace(Config.smoke(), projected=True)
    alone, seeing, whole = MaskGuided.stages(config)
    assert whole.config == config
    assert [one.share for one in (alone, seeing, whole)] == pytest.approx([0.5, 0.05, 0.45])
    named = {one.name: [phase.name for phase in families.start("mask_guided", one.config).phases()] for one in
             (alone, seeing)}  # fmt: skip
    assert named == {"alone": ["generator"], "seeing": ["generator", "discriminators"]}
    faces = drawn.faces(4, 32, 0)
    family = families.start("mask_guided", seeing.config).train()
    generator, discriminators = family.phases()
    assert not {"adversarial", "adversarial_unpaired", "features_matched"} & set(generator.losses(faces))
    plain = families.start("mask_guided", Config.smoke(), seed=1)
    family.init_from(plain)
    for name in ("encoders", "image_decoders", "generator"):
        both = (one.get_submodule(name).state_dict().values() for one in (family, plain))
        assert all(torch.equal(*pair) for pair in zip(*both, strict=True))
    family = families.start("mask_guided", config).train()
    generator, discriminators = family.phases()
    assert {"adversarial", "adversarial_unpaired"} < set(generator.losses(faces))
    told = discriminators.losses(faces)
    assert set(told) == {"discriminator", "accuracy", "discriminator_unpaired", "accuracy_unpaired"}
    (told["discriminator"] + told["discriminator_unpaired"]).backward()
    assert all(one.grad is not None for one in discriminators.parameters)
