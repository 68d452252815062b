"""importing.py: files of the published layouts, made here, become weights that everything finds by name and preset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import drawn
import official
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from skimage.data import astronaut
from typer.testing import CliRunner

from swaplib import families, generators, judges, latent, weights
from swaplib.cli import app
from swaplib.faces import Faces
from swaplib.families import mask_guided
from swaplib.families.latent_swap import Mixer
from swaplib.judges import Judges
from swaplib.latent import reenactment
from swaplib.networks import psp
from swaplib.networks.facevid2vid import FaceVid2Vid
from swaplib.networks.stylegan2 import Generator
from swaplib.weights import published
from swaplib.weights.catalogue import official_file
from swaplib.workbook import importing

OFFICIAL = weights.OFFICIAL
SIZES = {"size": 32, "base": 256, "most": 16, "z": 16, "w": 16, "depth": 2}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Where imported weights go."""
    monkeypatch.setenv("SWAPLIB_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def stir(network: torch.nn.Module, seed: int = 1) -> torch.nn.Module:
    """Give a network random numbers that no other has."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return network.eval()


def generator(seed: int = 1) -> Generator:
    return stir(Generator(*SIZES.values()), seed)


def same(found: dict, wanted: dict) -> None:
    assert wanted
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


def imported(path: Path, *names: str) -> None:
    found = importing.import_file(path)
    assert [one.name for one in found] == list(names)
    for one in found:
        card = weights.read_card(one.file)
        row = official_file(one.name)
        assert card["licence"] == row.licence
        assert card["project"] == row.project
        assert path.is_dir() or list(card["source"]) == [path.name]
        assert card["parameters"] == one.parameters > 0


def test_a_generators_file_at_any_size(folder, tmp_path):
    wanted = generator()
    imported(official.write_rosinality(tmp_path / "550000.pt", wanted), "stylegan2")
    model = generators.load("stylegan2", OFFICIAL)
    same(model.network.state_dict(), wanted.state_dict())
    assert {name: getattr(model.config, name) for name in SIZES} == SIZES
    with safe_open(folder / "stylegan2_official.safetensors", "pt") as file:
        assert not any(name.startswith("discriminator") for name in file.keys())  # noqa: SIM118 no dict
    assert "stylegan2" in generators.ALL.ready(OFFICIAL)


def test_another_generator_takes_its_place_and_the_first_is_kept(folder, tmp_path):
    first, second = generator(1), generator(2)
    imported(official.write_rosinality(tmp_path / "a.pt", first), "stylegan2")
    digest = weights.file_sha256(folder / "stylegan2_official.safetensors")
    imported(official.write_rosinality(tmp_path / "a.pt", first), "stylegan2")  # again: nothing to keep
    assert len(list(folder.glob("*.safetensors"))) == 1
    imported(official.write_rosinality(tmp_path / "b.pt", second), "stylegan2")
    same(generators.load("stylegan2", OFFICIAL).network.state_dict(), second.state_dict())
    same(generators.frozen("stylegan2", OFFICIAL, digest).network.state_dict(), first.state_dict())


@pytest.mark.parametrize("kind", ["e4e", "psp"])
def test_an_encoder_and_its_generator(kind, folder, tmp_path):
    encoder, wanted = stir(published.ENCODERS[kind](32, 16, 16)), generator()
    path = official.write_encoder(tmp_path / "encode.pt", encoder, wanted)
    imported(path, kind, "stylegan2")
    images = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    known = published.load_official(path)[kind]
    with torch.no_grad():
        assert torch.equal(generators.ENCODERS.load(kind, OFFICIAL)(images), known(images))
    same(generators.load("stylegan2", OFFICIAL).network.state_dict(), wanted.state_dict())
    imported(path, kind)  # the generator that is there stays


def test_latent_swap_takes_the_imported_generator_and_the_imported_encoder(folder, tmp_path):
    path = official.write_latent_swap(tmp_path / "epoch=39-step=200000.ckpt", stir(Mixer(8, 16, depth=3)))
    with pytest.raises(ValueError, match=r"no StyleGAN2 has been imported: import the one .* stylegan2-ffhq-config-f"):
        importing.import_file(path)
    first = generator()
    importing.import_file(official.write_rosinality(tmp_path / "550000.pt", first))
    imported(path, "latent_swap")
    family = families.load("latent_swap", OFFICIAL)
    assert family.framing == "ffhq"
    assert family.config.depth == 3
    codes = family.sample(2)
    assert family.decode(family.mix(codes, codes)).shape == (2, 3, 32, 32)
    faces = drawn.faces(2, size=32)
    with pytest.raises(
        ValueError, match=r"latent_swap has no encoder for its generator: import one \(swaplib import e4e"
    ):
        family.encode(faces)
    encoder = stir(psp.Encoder4Editing(32, 16, 16))
    importing.import_file(official.write_encoder(tmp_path / "e4e.pt", encoder, first))
    assert families.load("latent_swap", OFFICIAL).swap(faces, faces).shape == (2, 3, 32, 32)
    importing.import_file(official.write_rosinality(tmp_path / "other.pt", generator(2)))
    again = families.load("latent_swap", OFFICIAL)  # goes on with the generator that it was imported for
    same(again.generator.network.state_dict(), first.state_dict())


def test_e4s_and_its_parser(folder, tmp_path):
    wanted = stir(families.build("e4s", "smoke"))
    imported(official.write_e4s(tmp_path / "iteration_300000.pt", wanted), "e4s")
    family = families.load("e4s", OFFICIAL)
    assert (family.framing, family.config.size) == ("ffhq", 32)
    same({name: family.state_dict()[name] for name in ("mean",)}, {"mean": wanted.mean})
    same(family.mlps.state_dict(), wanted.mlps.state_dict())
    assert isinstance(family.parser, judges.kind("parser"))
    faces = drawn.faces(2, size=32)
    by_label = family.swap(faces, replace(faces, labels=faces.labels.flip(0)))
    assert by_label.shape == (2, 3, 32, 32)
    bisenet = judges.PUBLISHED.build("bisenet")
    torch.save(bisenet.network.state_dict(), tmp_path / "79999_iter.pth")
    imported(tmp_path / "79999_iter.pth", "bisenet")
    family = families.load("e4s", OFFICIAL)
    assert family.parser.name == "bisenet"
    same(family.parser.network.state_dict(), bisenet.network.state_dict())
    assert family.swap(Faces(faces.images), faces).shape == (2, 3, 32, 32)
    assert Judges.released(OFFICIAL).parsers.keys() == {"bisenet"}
    assert Judges.released(OFFICIAL).embedders.keys() == {"smooth", "margin"}
    assert Judges.released().parsers == {}
    shown = [len(level.shape) for level in family.judge(faces.images)["parsing"]]
    assert shown == [4, 4, 4, 4]


def test_mask_guideds_folder(folder, tmp_path, monkeypatch):
    config = replace(mask_guided.Config.smoke(), size=256, halvings=2, blocks=9)
    monkeypatch.setattr(mask_guided.Config, "released", classmethod(lambda cls: config))
    wanted = stir(families.build("mask_guided", config))
    place = official.write_mask_guided(tmp_path / "pretrained", wanted)
    imported(place, "mask_guided")
    family = families.load("mask_guided", OFFICIAL)
    assert family.framing == "five_point"
    same(family.generator.state_dict(), wanted.generator.state_dict())
    assert set(weights.read_card(folder / "mask_guided_official.safetensors")["source"]) == {
        file.name for file in place.iterdir()
    }


def test_facevid2vid(folder, tmp_path):
    network = stir(FaceVid2Vid(2))
    path = official.write_facevid2vid(tmp_path / "00000189-checkpoint.pth.tar", network)
    with pytest.raises(
        FileNotFoundError, match=r"facevid2vid has not been imported: get 00000189-checkpoint\.pth\.tar"
    ):
        reenactment.load("facevid2vid")
    imported(path, "facevid2vid")
    for found in (
        reenactment.load("facevid2vid"),
        reenactment.load("facevid2vid", folder / "facevid2vid_official.safetensors"),
    ):
        same(found.network.state_dict(), network.state_dict())


def test_published_judges(folder, tmp_path):
    faces = drawn.faces(2, size=64)
    lpips = stir(judges.PUBLISHED.build("lpips"))
    torch.save(
        {f"features.{name}": value for name, value in lpips.features.state_dict().items()}, tmp_path / "alexnet.pth"
    )
    imported(tmp_path / "alexnet.pth", "lpips")
    found = judges.PUBLISHED.load("lpips", OFFICIAL)
    assert not any(parameter.requires_grad for parameter in found.parameters())
    wanted = judges.load_official(tmp_path / "alexnet.pth")
    assert torch.equal(found(faces.images, faces.images.flip(0)), wanted(faces.images, faces.images.flip(0)))
    assert Judges.released(OFFICIAL).perceptual.keys() == {"perceptual", "lpips"}
    by_file = Judges.released("smoke").with_files(perceptual=folder / "lpips_official.safetensors")
    assert by_file.perceptual.keys() == {"perceptual", "lpips"}
    embedder = judges.PUBLISHED.build("latentswap_embedder")
    torch.save(
        {"state_dict": {f"net.{name}": value for name, value in embedder.state_dict().items()}}, tmp_path / "e.ckpt"
    )
    imported(tmp_path / "e.ckpt", "latentswap_embedder")
    assert torch.equal(
        judges.PUBLISHED.load("latentswap_embedder", OFFICIAL).embed(faces), embedder.eval().embed(faces)
    )


def test_what_is_no_published_file_is_refused_in_a_sentence(folder, tmp_path):
    torch.save({"state_dict": {"a": torch.ones(2)}}, tmp_path / "other.pth")
    with pytest.raises(
        ValueError, match=r"other\.pth fills none of the models that are known here: choose a file of lat"
    ):
        importing.import_file(tmp_path / "other.pth")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        importing.import_file(tmp_path / "nowhere.pt")
    wanted = families.build("e4s", replace(families.config("e4s", "smoke"), masked=5))
    with pytest.raises(ValueError, match=r"odd\.pt holds E4S, but of another build"):
        importing.import_file(official.write_e4s(tmp_path / "odd.pt", wanted))
    assert not list(folder.glob("*.safetensors"))
    path = official.write_rosinality(tmp_path / "550000.pt", generator())
    with pytest.raises(ValueError, match=r"out\.safetensors is the name of a file: name the folder"):
        importing.import_file(path, tmp_path / "out.safetensors")
    (made,) = importing.import_file(path, tmp_path / "elsewhere")
    assert made.file == tmp_path / "elsewhere" / "stylegan2_official.safetensors"
    with pytest.raises(ValueError, match="holds swaplib's own weights of stylegan2 already"):
        importing.import_file(made.file)


def test_what_has_not_been_imported_says_how(folder):
    with pytest.raises(
        FileNotFoundError, match=r"e4s has not been imported: get iteration_300000\.pt from e4s2022/e4s"
    ):
        families.load("e4s", OFFICIAL)
    with pytest.raises(FileNotFoundError, match="no published file fills rsgan: choose the preset demo"):
        families.load("rsgan", OFFICIAL)
    assert set(families.ready(OFFICIAL)) == {"target", "landmarks"}
    assert families.load("landmarks", OFFICIAL).config == families.config("landmarks", "demo")


def test_imported_weights_swap_photographs_on_the_command_line(folder, tmp_path):
    family = stir(families.build("e4s", "smoke"))
    path = official.write_e4s(tmp_path / "iteration_300000.pt", family)
    result = CliRunner().invoke(app, ["import", str(path)])
    assert result.exit_code == 0, result.output
    made = folder / "e4s_official.safetensors"
    assert f"preset official, {made}" in result.stdout
    source, target = tmp_path / "source.png", tmp_path / "target.png"
    Image.fromarray(astronaut()[:300, 60:360]).save(source)
    Image.fromarray(astronaut()[:300, 60:360][:, ::-1]).save(target)
    for how in (["--preset", OFFICIAL], ["--weights", str(made)]):
        out = tmp_path / "out.png"
        result = CliRunner().invoke(app, ["swap", str(source), str(target), "-o", str(out), "--family", "e4s", *how])
        assert result.exit_code == 0, result.output
        assert out.exists()
    assert latent.swap_photographs(families.load("e4s", OFFICIAL), source, target)[0].ndim == 3
