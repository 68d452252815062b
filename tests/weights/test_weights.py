"""Released weights: saved, described and loaded again; every wrong file gets its sentence."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass, replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from swaplib import families, weights
from swaplib.families import Family, Part, Phase
from swaplib.weights import Card

CARD = Card(
    data="5,000 rendered faces, calm world, seed 0",
    steps=1200,
    images=19_200,
    seconds=1830.0,
    hardware="2 cores of a processor",
    command="swaplib train small --preset demo --minutes 30",
    licence="Apache-2.0",
    results={"psnr": 21.53219, "nearer_source": "82%"},
    notes="Hair is good, teeth are not.",
)


@dataclass(frozen=True)
class SmallConfig:
    size: int = 8
    widths: tuple[int, ...] = (4, 6)
    rec: float = 1.0

    @classmethod
    def smoke(cls):
        return cls()

    @classmethod
    def demo(cls):
        return cls(size=16)

    @classmethod
    def paper(cls):
        return cls(widths=(8, 8))


class Small(Family):
    name = "small"
    Config = SmallConfig
    swap_parts = ("code",)
    training_only = ("discriminator",)

    def __init__(self, config: SmallConfig):
        super().__init__(config)
        self.parts = (Part("code", (config.widths[1], config.size, config.size)),)
        self.encoder = nn.Sequential(nn.Conv2d(3, config.widths[0], 1), nn.BatchNorm2d(config.widths[0]), nn.ReLU())
        self.middle = nn.Conv2d(*config.widths, 1)
        self.decoder = nn.Conv2d(config.widths[1], 3, 1)
        self.discriminator = nn.Linear(3, 1)
        self.discriminators_eye = nn.Linear(2, 1)

    def encode(self, faces):
        return {"code": self.middle(self.encoder(faces.images))}

    def decode(self, codes):
        return torch.tanh(self.decoder(codes["code"]))

    def phases(self):
        return [Phase("all", self.parameters(), lambda faces: {"rec": self.encode(faces)["code"].mean()})]


@pytest.fixture
def family() -> Small:
    torch.manual_seed(3)
    family = Small(SmallConfig())
    family.encoder[1].running_mean.normal_()
    family.encoder[1].running_var.fill_(1e-9)  # float16 has no such number
    return family


@pytest.fixture
def path(family, tmp_path):
    return weights.save(family, tmp_path / "weights" / "small_smoke.safetensors", CARD)


def test_round_trip(family, path):
    loaded = weights.load(Small(SmallConfig()).train(), path)
    assert not loaded.training
    before, after = family.state_dict(), loaded.state_dict()
    parameters = dict(family.named_parameters())
    for name, value in before.items():
        if name.startswith("discriminator."):
            assert not torch.equal(after[name], value)
        elif name in parameters:
            assert torch.equal(after[name], value.half().float()), name
        else:
            assert torch.equal(after[name], value), name
    assert after["encoder.1.num_batches_tracked"].dtype == torch.int64


def test_the_file_is_in_half_precision_and_without_discriminators(family, path):
    tensors = load_file(path)
    assert not [name for name in tensors if name.startswith("discriminator.")]
    assert tensors["discriminators_eye.weight"].dtype == tensors["decoder.weight"].dtype == torch.float16
    assert tensors["encoder.1.running_var"].dtype == torch.float32
    assert sorted(file.name for file in path.parent.iterdir()) == ["small_smoke.md", "small_smoke.safetensors"]


def test_the_card_tells_programs_and_people(family, path):
    card = weights.read_card(path)
    assert (card["family"], card["file"], card["steps"], card["images"]) == ("small", path.name, 1200, 19_200)
    assert card["config"] == {"size": 8, "widths": [4, 6], "rec": 1.0}
    assert card["results"] == dict(CARD.results)
    assert card["bytes"] == path.stat().st_size
    left_out = sum(value.numel() for value in family.discriminator.parameters())
    assert card["parameters"] == sum(value.numel() for value in family.parameters()) - left_out
    assert card["licence"] == "Apache-2.0"
    assert (
        card["versions"]["torch"] == torch.__version__.split("+")[0] or card["versions"]["torch"] == torch.__version__
    )
    text = path.with_suffix(".md").read_text()
    for part in (CARD.data, CARD.command, CARD.notes, "| 21.53 | 82% |", "1,200 steps, 19,200 images, 30 minutes"):
        assert part in text


def test_weights_may_be_read_by_whom_files_may_be_read_by(family, tmp_path):
    mask = os.umask(0o027)
    try:
        path = weights.save(family, tmp_path / "small.safetensors", CARD)
    finally:
        os.umask(mask)
    assert {file.stat().st_mode & 0o777 for file in (path, path.with_suffix(".md"))} == {0o640}


def test_a_card_of_other_weights_is_noticed(family, path):
    family.decoder.weight.data.add_(1)
    text = path.with_suffix(".md").read_text()
    weights.save(family, path, CARD)
    path.with_suffix(".md").write_text(text)
    with pytest.raises(ValueError, match=r"describes other weights than small_smoke\.safetensors holds"):
        weights.read_card(path)
    path.with_suffix(".md").write_text("# no head\n")
    with pytest.raises(ValueError, match=r"small_smoke\.md is damaged \(it has no YAML head"):
        weights.read_card(path)
    path.with_suffix(".md").unlink()
    with pytest.raises(FileNotFoundError, match=r"small_smoke\.md: weights come with a card"):
        weights.read_card(path)


def test_saving_is_all_or_nothing(family, path, monkeypatch):
    before = path.read_bytes()

    def interrupted(tensors, file, metadata):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("swaplib.weights.files.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        weights.save(family, path, CARD)
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 2


def test_what_half_precision_cannot_hold_is_refused(family, tmp_path):
    family.decoder.weight.data[0, 0] = 1e5
    with pytest.raises(ValueError, match=r"decoder\.weight holds numbers that float16 can't"):
        weights.save(family, tmp_path / "small.safetensors", CARD)
    with pytest.raises(ValueError, match=r"small.pt must end in \.safetensors"):
        weights.save(family, tmp_path / "small.pt", CARD)
    assert list(tmp_path.iterdir()) == []


class Other(Small):
    name = "other"


class Wider(Small):
    """The same config, other tensors."""

    def __init__(self, config):
        super().__init__(config)
        self.decoder = nn.Conv2d(config.widths[1], 3, 3)


class More(Small):
    def __init__(self, config):
        super().__init__(config)
        self.extra, self.further = nn.Linear(1, 1), nn.Linear(1, 1)


class Less(Small):
    def __init__(self, config):
        super().__init__(config)
        del self.discriminators_eye


def _unchanged_after_error(wrong, path, sentence):
    before = [value.clone() for value in wrong.state_dict().values()]
    with pytest.raises(ValueError, match=sentence) as error:
        weights.load(wrong, path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert all(torch.equal(a, b) for a, b in zip(before, wrong.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (Other(SmallConfig()), "holds weights of small, not of other"),
        (Small(SmallConfig(size=16)), r"holds weights of a small with size=8 \(here 16\): build the family like that"),
        (Wider(SmallConfig()), r"has decoder.weight as \(3, 6, 1, 1\), but small needs \(3, 6, 3, 3\)"),
        (More(SmallConfig()), "lacks extra.bias and 3 more: it was made with another version of small"),
        (Less(SmallConfig()), "has more: discriminators_eye.bias and 1 more"),
    ],
)
def test_weights_of_another_family_are_refused(path, wrong, sentence):
    _unchanged_after_error(wrong, path, sentence)


def _newer(path):
    tensors = load_file(path)
    save_file(tensors, path, {"swaplib.format": "2", "swaplib.family": "small", "swaplib.config": "{}"})


def _cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def _head_cut(path):
    path.write_bytes(struct.pack("<Q", 10**9) + b"{}")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_cut, "is damaged or no safetensors file"),
        (_head_cut, "is damaged or no safetensors file"),
        (lambda path: path.write_bytes(b""), r"is empty \(0 bytes\)"),
        (lambda path: save_file({"a": torch.zeros(1)}, path), "but not one of swaplib's"),
        (_newer, r"written by a newer swaplib \(format 2\): update swaplib"),
    ],
)
def test_damaged_and_foreign_files_are_refused(path, damage, sentence):
    damage(path)
    _unchanged_after_error(Small(SmallConfig()), path, sentence)


def _with_head(path, **head):
    known = {"format": "1", "family": "small", "config": json.dumps(weights.to_plain(SmallConfig()))}
    save_file(load_file(path), path, {f"swaplib.{key}": value for key, value in {**known, **head}.items()})


@pytest.mark.parametrize(
    "config",
    [
        "[]",
        "null",
        "3",
        "NaN",
        '{"size": NaN}',
        '{"size": Infinity}',
        "[" * 100_000,
        '{"a": ' * 5000,
        "{",
        "",
        '"size"',
    ],
)
def test_a_damaged_head_gets_a_sentence(path, config):
    _with_head(path, config=config)
    _unchanged_after_error(Small(SmallConfig()), path, "has a damaged head: copy it again")
    with pytest.raises(ValueError, match="has a damaged head"):
        weights.read_config(path, Small)


@pytest.mark.parametrize("head", [{"format": "-1"}, {"format": "one"}, {"format": "9" * 5000}])
def test_a_damaged_format_gets_a_sentence(path, head):
    _with_head(path, **head)
    with pytest.raises(ValueError, match="written by a newer swaplib"):
        weights.read_config(path, Small)


@pytest.mark.parametrize(
    "changes", [{"size": "8"}, {"size": None}, {"size": [8]}, {"widths": 4}, {"size": 10**9}, {"widths": [4] * 10_000}]
)
def test_a_config_of_other_values_is_refused_before_anything_is_built(path, changes):
    _with_head(path, config=json.dumps({**weights.to_plain(SmallConfig()), **changes}))
    with pytest.raises(ValueError, match=r"the config says (size|widths)=.* which small can't be"):
        weights.read_config(path, Small)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(path, number):
    tensors = load_file(path)
    name = next(name for name, value in tensors.items() if value.is_floating_point())
    tensors[name].view(-1)[0] = number
    with safe_open(path, "pt") as file:
        head = file.metadata()
    save_file(tensors, path, head)
    _unchanged_after_error(Small(SmallConfig()), path, "holds numbers that are not finite")


def test_a_config_that_asks_for_a_giant_costs_nothing(tmp_path):
    """Four bytes for each of its numbers would be more than any machine has."""
    path = tmp_path / "giant.safetensors"
    config = families.config("smooth_swap", "smoke")
    giant = replace(config, width=60_000, discriminator_most=60_000)
    head = {"format": "1", "family": "smooth_swap", "config": json.dumps(weights.to_plain(giant))}
    save_file({"projection.weight": torch.zeros(1)}, path, {f"swaplib.{key}": value for key, value in head.items()})
    with pytest.raises(ValueError, match=r"giant\.safetensors lacks .* made with another version of smooth_swap"):
        families.load("smooth_swap", file=path)


@dataclass(frozen=True)
class GrownConfig(SmallConfig):
    depth: int = 1


@dataclass(frozen=True)
class ShrunkConfig:
    size: int = 8


def test_a_file_tells_its_config(path):
    grown, shrunk = (type("Small", (Small,), {"Config": config}) for config in (GrownConfig, ShrunkConfig))
    assert weights.read_config(path, Small) == SmallConfig()
    assert weights.read_config(path, grown) == GrownConfig(depth=1)
    with pytest.raises(ValueError, match="the config has rec, which small doesn't know"):
        weights.read_config(path, shrunk)
    assert weights.load(grown(GrownConfig()), path)
    with pytest.raises(ValueError, match=r"with depth=1 \(here 2\)"):
        weights.load(grown(GrownConfig(depth=2)), path)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.safetensors: check the path"):
        weights.read_config(path.with_name("nowhere.safetensors"), Small)


# ---------------------------------------------------------------------------------------------- the registry


@pytest.fixture
def registry(monkeypatch, tmp_path):
    monkeypatch.setitem(families.ALL._kinds, "small", Small)
    monkeypatch.setattr("swaplib.weights.released.FOLDER", tmp_path)
    return tmp_path


def test_a_trained_family_loads_by_name_and_preset(registry, family):
    demo = families.build("small", "demo", seed=5)
    weights.save(demo, registry / "small_demo.safetensors", CARD)
    assert "small" not in families.ready("paper")
    assert {"small", "landmarks"} <= set(families.ready("demo"))
    loaded = families.load("small", "demo")
    assert not loaded.training
    assert loaded.config == SmallConfig.demo()
    torch.testing.assert_close(loaded.decoder.weight, demo.decoder.weight, rtol=1e-3, atol=1e-5)


def test_without_released_weights_the_command_is_named(registry):
    with pytest.raises(FileNotFoundError, match=r"small has no released weights for the preset paper: .*swaplib train"):
        families.load("small", "paper")
    assert weights.find_released("small", "paper") == registry / "small_paper.safetensors"
    assert families.load("landmarks", "smoke").config.size == 32  # has nothing to learn


def test_a_file_of_ones_own_brings_its_config(registry, tmp_path):
    own = Small(SmallConfig(size=12, widths=(3, 5)))
    file = weights.save(own, tmp_path / "own.safetensors", CARD)
    loaded = families.load("small", file=file)
    assert loaded.config == own.config
    with pytest.raises(ValueError, match="holds weights of small, not of landmarks"):
        families.load("landmarks", file=file)


def test_build_follows_the_seed_and_leaves_the_generators_alone(registry):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one, same, other = (families.build("small", "smoke", seed) for seed in (0, 0, 1))
    assert torch.rand(1) == expected
    assert torch.equal(one.decoder.weight, same.decoder.weight)
    assert not torch.equal(one.decoder.weight, other.decoder.weight)
    with pytest.raises(ValueError, match="unknown family 'nobody'"):
        families.build("nobody")


def test_hardware_is_named():
    assert "cores of" in weights.describe_hardware()
    assert len(replace(CARD, hardware=weights.describe_hardware()).hardware) > 12


def test_a_card_that_cannot_be_written_leaves_no_weights_behind(tmp_path):
    family = families.build("rsgan", "smoke")
    card = weights.Card("faces", 1, 4, 1.0, "a processor", "a command", "a licence", {"error": object()})
    with pytest.raises(Exception, match="cannot represent"):
        weights.save(family, tmp_path / "new.safetensors", card)
    assert list(tmp_path.iterdir()) == []
