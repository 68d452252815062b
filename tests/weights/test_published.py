"""published.py: files of the same formats as the published ones, made here; and what such files must not do."""

from __future__ import annotations

import io
import math
import os
import pickle
import subprocess
import sys
import tracemalloc
import warnings
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import official
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from typer.testing import CliRunner

from swaplib import generators, weights
from swaplib.cli import app
from swaplib.generators.stylenerf import Config as StyleNeRFConfig
from swaplib.networks import psp, stylenerf
from swaplib.networks.cameras import look_from
from swaplib.networks.facevid2vid import FaceVid2Vid
from swaplib.networks.stylegan2 import Discriminator, Generator
from swaplib.weights import published, published_names
from swaplib.weights.unpickling import unpickle
from swaplib.workbook import importing

CONTAINERS = (torch.nn.ModuleList, torch.nn.Sequential)
CODES = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def networks() -> dict[str, torch.nn.Module]:
    torch.manual_seed(4)
    made = {
        "G": Generator(16, 128, 8, 6, 7, 2),
        "D": Discriminator(16, 128, 8),
        "G_ema": Generator(16, 128, 8, 6, 7, 2),
    }
    for network in made.values():
        for value in network.state_dict().values():
            value.add_(torch.randn_like(value) * 0.1)
    return {name: network.eval() for name, network in made.items()}


def same(found: dict, network: torch.nn.Module) -> None:
    wanted = network.state_dict()
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, msg=name)


# ---------------------------------------------------------------------------------------------- NVIDIA, PyTorch


def _reconstruct_persistent_obj(meta):
    raise AssertionError("the stock loader would execute the file's source text here")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


class Persistent:
    """What NVIDIA's decorator makes of a module when it is pickled."""

    def __init__(self, module: torch.nn.Module):
        buffers = {**module._buffers, "resample_filter": torch.ones(4, 4)}
        children = OrderedDict(
            (name, (bare if type(child) in CONTAINERS else Persistent)(child))
            for name, child in module._modules.items()
            if child is not None
        )
        state = {"training": False, "_parameters": OrderedDict(module._parameters), "_buffers": OrderedDict(buffers)}
        state |= {"_modules": children, "_init_args": (), "_init_kwargs": {"gain": np.float32(2)}}
        self.meta = {"type": "class", "version": 6, "module_src": "raise SystemExit", "state": state}
        self.meta["class_name"] = type(module).__name__

    def __reduce__(self):
        return _reconstruct_persistent_obj, (self.meta,)


def throwaway(monkeypatch, module: str, **names) -> None:
    """A module that is there while a file is written."""
    parts = module.split(".")
    for k in range(len(parts)):
        name = ".".join(parts[: k + 1])
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    vars(sys.modules[module]).update(names)


@pytest.fixture
def pickled(tmp_path, networks) -> Path:
    """A pickle of stylegan2-ada-pytorch."""
    path = tmp_path / "ffhq.pkl"
    content = {name: Persistent(network) for name, network in networks.items()}
    content |= {"training_set_kwargs": {"path": "ffhq.zip"}, "augment_pipe": None}
    with pytest.MonkeyPatch.context() as monkeypatch:
        throwaway(monkeypatch, "torch_utils.persistence", _reconstruct_persistent_obj=_reconstruct_persistent_obj)
        path.write_bytes(pickle.dumps(content))
    return path


def test_nvidias_pickles_are_read(pickled, networks):
    found = published.read(pickled)
    assert list(found) == ["G", "D", "G_ema"]
    for name, tensors in found.items():
        same(tensors, networks[name])


def test_a_generator_is_built_from_its_tensors(pickled, networks):
    generator = published.load_official(pickled)["G_ema"]
    with torch.no_grad():
        assert torch.equal(generator(CODES), networks["G_ema"](CODES))
    assert not any(parameter.requires_grad for parameter in generator.parameters())


# ---------------------------------------------------------------------------------------------- StyleNeRF

NERF = stylenerf.Build(
    32, 256, 8, z=6, w=7, depth=2, volume=8, features=6, hidden=10, blocks=3, hidden_back=5, blocks_back=2, code=4,
    octaves=3,
)  # fmt: skip


def bare(module: torch.nn.Module) -> torch.nn.Module:
    """One of torch's own containers, which are pickled by the name of their class, with what is pickled in it."""
    made = type(module).__new__(type(module))
    children = OrderedDict((name, Persistent(one)) for name, one in module.named_children())
    made.__dict__ = {"training": False, "_parameters": {}, "_buffers": {}, "_modules": children}
    return made


class DictConfig:
    """OmegaConf's kind of dict, as far as pickles go."""

    __module__ = "omegaconf.dictconfig"

    def __init__(self, **content):
        self.__dict__ = {"_metadata": {"element_type": Any, "object_type": dict}, "_content": content}


class Camera:
    """A part of the official network that is no module, pickled by its attributes."""

    def __reduce__(self):
        state = {"range_u": DictConfig(_list=[-0.3, 0.3]), "camera_matrix": torch.eye(4)[None], "fov": np.float32(12)}
        return _reconstruct_persistent_obj, ({"type": "class", "class_name": "CameraRay", "state": state},)


def nerf_pickle(path: Path, networks: dict[str, torch.nn.Module]) -> Path:
    """A pickle of facebookresearch/StyleNeRF: as above, with torch's containers, options and a part that is none."""
    content = {name: Persistent(network) for name, network in networks.items()}
    for name in ("G", "G_ema"):
        state = content[name].meta["state"]
        state["encoder"], state["_init_kwargs"] = None, DictConfig(z_dim=6, mapping_kwargs=DictConfig(num_layers=2))
        state["_modules"]["synthesis"].meta["state"]["C"] = Camera()
    content["D"].meta["state"]["curr_status"] = (3, 3, 128, 256)
    content |= {"training_set_kwargs": DictConfig(path="ffhq.zip"), "augment_pipe": None}
    with pytest.MonkeyPatch.context() as monkeypatch:
        throwaway(monkeypatch, "torch_utils.persistence", _reconstruct_persistent_obj=_reconstruct_persistent_obj)
        throwaway(monkeypatch, "omegaconf.dictconfig", DictConfig=DictConfig)
        path.write_bytes(pickle.dumps(content, 4))
    return path


@pytest.fixture(scope="module")
def nerfs() -> dict[str, torch.nn.Module]:
    torch.manual_seed(5)
    made = {"G": stylenerf.Generator(NERF), "D": stylenerf.Discriminator(32, 256, 8, start=8)}
    return {name: network.eval() for name, network in made.items()} | {"G_ema": stylenerf.Generator(NERF).eval()}


def test_stylenerfs_pickles_are_read_and_built(tmp_path, nerfs):
    path = nerf_pickle(tmp_path / "ffhq_32.pkl", nerfs)
    found = published.read(path)
    assert list(found) == ["G", "D", "G_ema"]
    for name, tensors in found.items():
        same(tensors, nerfs[name])
    generator = published.load_official(path)["G_ema"]
    assert isinstance(generator, stylenerf.Generator)
    with torch.no_grad():
        assert torch.equal(generator(CODES, look_from(20.0)), nerfs["G_ema"](CODES, look_from(20.0)))
    assert not any(parameter.requires_grad for parameter in generator.parameters())


def test_stylenerfs_file_fills_the_model_of_its_size_and_no_other(tmp_path, nerfs):
    path = nerf_pickle(tmp_path / "ffhq_32.pkl", nerfs)
    sizes = {name: value for name, value in NERF.__dict__.items() if name != "size"}
    config = StyleNeRFConfig(32, **sizes, base_judge=256, most_judge=8)
    model = generators.build("stylenerf", config).load_official(path)
    same(dict(model.network.state_dict()), nerfs["G_ema"])
    same(dict(model.discriminator.state_dict()), nerfs["D"])
    with pytest.raises(
        ValueError, match=r"ffhq_32\.pkl holds a StyleNeRF generator, but of another build than this one"
    ):
        generators.build("stylenerf", "smoke").load_official(path)
    with pytest.raises(ValueError, match=r"ffhq_32\.pkl doesn't hold a StyleGAN2 generator: choose stylegan2-ffhq"):
        generators.build("stylegan2", "smoke").load_official(path)


def test_an_imported_stylenerf_is_found_by_its_preset(tmp_path, nerfs, monkeypatch):
    monkeypatch.setenv("SWAPLIB_WEIGHTS", str(tmp_path))
    (made,) = importing.import_file(nerf_pickle(tmp_path / "ffhq_32.pkl", nerfs))
    assert made.file == tmp_path / "stylenerf_official.safetensors"
    same(dict(generators.load("stylenerf", "official").network.state_dict()), nerfs["G_ema"])


def test_other_builds_of_stylenerf_are_refused(tmp_path, nerfs, pickled):
    tensors = {name: value for name, value in nerfs["G_ema"].state_dict().items() if "bg_nerf" not in name}
    with pytest.raises(ValueError, match=r"ffhq\.pkl holds a StyleNeRF of another build: only that of stylenerf_ffhq"):
        published.build(tensors, tmp_path / "ffhq.pkl")
    with pytest.raises(ValueError, match=r"ffhq\.pkl doesn't hold a StyleNeRF generator: choose ffhq_256\.pkl"):
        generators.build("stylenerf", "smoke").load_official(pickled)


@pytest.mark.parametrize("kind", ["options", "container", "part"])
def test_code_in_stylenerfs_pickle_is_refused(tmp_path, nerfs, kind):
    """Wherever it lies: in what options hold, among torch's containers, in a part that is no module."""
    marker = tmp_path / "executed"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {marker}",)

    content = Persistent(nerfs["G_ema"])
    state = content.meta["state"]
    if kind == "options":
        state["_init_kwargs"] = {"mapping_kwargs": [Evil()]}
    elif kind == "part":
        state["C"] = Evil()
    else:
        state["_modules"]["synthesis"].meta["state"]["_modules"]["fg_nerf"].meta["state"]["_modules"]["blocks"] = Evil()
    path = tmp_path / "evil.pkl"
    with pytest.MonkeyPatch.context() as monkeypatch:
        throwaway(monkeypatch, "torch_utils.persistence", _reconstruct_persistent_obj=_reconstruct_persistent_obj)
        path.write_bytes(pickle.dumps({"G_ema": content}))
    with pytest.raises(ValueError, match=r"evil\.pkl asks for \w+\.system, which weights don't need"):
        published.read(path)
    assert not marker.exists()


# ---------------------------------------------------------------------------------------------- NVIDIA, TensorFlow


class Network:
    """dnnlib's class, as far as its pickles go."""

    def __init__(self, variables, **components):
        self.state = {"version": 4, "name": "G", "static_kwargs": {}, "build_module_src": "raise SystemExit"}
        self.state |= {"variables": list(variables.items()), "components": components}

    def __getstate__(self):
        return self.state


Network.__module__ = "dnnlib.tflib.network"


def _layer(tensors: dict, name: str, up: bool = False) -> dict[str, np.ndarray]:
    """TensorFlow's variables of a steered layer: HWIO, doubling ones turned over, styles' biases counted from 1."""
    found = {
        key.removeprefix(f"{name}."): value.numpy() for key, value in tensors.items() if key.startswith(f"{name}.")
    }
    weight = found["weight"].transpose(2, 3, 1, 0)
    variables = {"weight": weight[::-1, ::-1] if up else weight, "bias": found["bias"]}
    variables |= {"mod_weight": found["affine.weight"].T, "mod_bias": found["affine.bias"] - 1}
    return variables | ({"noise_strength": found["noise_strength"]} if "noise_strength" in found else {})


def tensorflow_generator(network: Generator) -> Network:
    tensors = network.state_dict()
    mapping = {f"Dense{k}/weight": tensors[f"mapping.fc{k}.weight"].numpy().T for k in range(2)}
    mapping |= {f"Dense{k}/bias": tensors[f"mapping.fc{k}.bias"].numpy() for k in range(2)}
    synthesis = {"lod": np.float32(0), "4x4/Const/const": tensors["synthesis.b4.const"][None].numpy()}
    layers = [("b4.conv1", "4x4/Conv", "noise0"), ("b8.conv0", "8x8/Conv0_up", "noise1"),
              ("b8.conv1", "8x8/Conv1", "noise2"), ("b16.conv0", "16x16/Conv0_up", "noise3"),
              ("b16.conv1", "16x16/Conv1", "noise4")]  # fmt: skip
    layers += [(f"b{side}.torgb", f"{side}x{side}/ToRGB", None) for side in (4, 8, 16)]
    for ours, theirs, noise in layers:
        for piece, value in _layer(tensors, f"synthesis.{ours}", "up" in theirs).items():
            synthesis[f"{theirs}/{piece}"] = value
        if noise:
            synthesis[noise] = tensors[f"synthesis.{ours}.noise_const"][None, None].numpy()
    average = {"dlatent_avg": tensors["mapping.w_avg"].numpy()}
    return Network(average, mapping=Network(mapping), synthesis=Network(synthesis))


def tensorflow_discriminator(network: Discriminator) -> Network:
    places = {"b16.fromrgb": "16x16/FromRGB", "b4.conv": "4x4/Conv", "b4.fc": "4x4/Dense0", "b4.out": "Output"}
    for side in (8, 16):
        layers = {"conv0": "Conv0", "conv1": "Conv1_down", "skip": "Skip"}
        places |= {f"b{side}.{ours}": f"{side}x{side}/{theirs}" for ours, theirs in layers.items()}
    variables = {}
    for name, value in network.state_dict().items():
        module, _, piece = name.rpartition(".")
        value = value.numpy()
        axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[value.ndim]
        variables[f"{places[module]}/{piece}"] = value.transpose(axes)
    return Network(variables)


def test_tensorflows_pickles_are_read(tmp_path, networks, monkeypatch):
    path = tmp_path / "stylegan2-ffhq-config-f.pkl"
    throwaway(monkeypatch, "dnnlib.tflib.network", Network=Network)
    generators = [tensorflow_generator(networks[name]) for name in ("G", "G_ema")]
    path.write_bytes(pickle.dumps((generators[0], tensorflow_discriminator(networks["D"]), generators[1]), 4))
    for name, tensors in published.read(path).items():
        same(tensors, networks[name])


# ---------------------------------------------------------------------------------------------- rosinality


def test_rosinalitys_names_are_a_bijection(networks):
    for name, network in networks.items():
        theirs, mean = published_names.to_rosinality(network.state_dict())
        same(published_names.from_rosinality(theirs, mean), network)
        assert (mean is None) == (name == "D")


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_rosinalitys_layout_is_the_official_one(size):
    for network, part in ((Generator(size), "g"), (Discriminator(size), "d")):
        theirs, _ = published_names.to_rosinality(network.state_dict())
        wanted = official.keys(f"rosinality_stylegan2_keys_{size}", part)
        wanted = {name: shape for name, shape in wanted.items() if not name.endswith("kernel")}
        assert {name: tuple(value.shape) for name, value in theirs.items()} == wanted


def test_rosinalitys_networks_give_the_same_numbers_here(tmp_path):
    name = "rosinality_stylegan2_64_full"
    theirs = {}
    for part, file in (("g", "g_ema"), ("d", "d")):
        layout = official.keys(name, part).items()
        theirs[file] = {key: torch.zeros(shape) for key, shape in layout if not key.endswith("kernel")}
        official.fill_tensors(theirs[file], name)
    given, wanted = official.inputs(name), official.expected(name)
    torch.save(theirs | {"latent_avg": given["mean_latent"][0]}, tmp_path / "550000.pt")
    generator = published.load_official(tmp_path / "550000.pt")["G_ema"]
    discriminator = Discriminator(64)
    discriminator.load_state_dict(published.read(tmp_path / "550000.pt")["D"])
    with torch.no_grad():
        w = generator.mapping(given["z"])
        found = {"w": w, "img_z_psi07_const": generator(given["z"], 0.7)}
        found |= {
            "img_wplus_const": generator.synthesis(given["wplus"]),
            "d_logits_batch4": discriminator(given["img"]),
        }
    for key, value in found.items():
        torch.testing.assert_close(value, wanted[key], atol=1e-4 * float(wanted[key].abs().max()), rtol=0, msg=key)


@pytest.mark.parametrize(
    "form", ["whole", "alone", "parallel", "parallel alone", "without noise", "half", "averaged only", "other things"]
)
def test_rosinalitys_files_as_people_have_them(tmp_path, networks, form):
    state, mean = published_names.to_rosinality(networks["G_ema"].state_dict())
    if "parallel" in form:
        state = {f"module.{name}": value for name, value in state.items()}
    if form == "without noise":
        state = {name: value for name, value in state.items() if not name.startswith("noises.")}
    if form == "half":
        state = {name: value.half() for name, value in state.items()}
    content = state if "alone" in form else {"g_ema": state, "latent_avg": mean}
    content |= {"args": {"size": 16}, "iter": 3} if form == "other things" else {}
    torch.save(content, tmp_path / "wild.pt")
    found = published.read(tmp_path / "wild.pt")["G_ema"]
    for name, value in networks["G_ema"].state_dict().items():
        if form == "without noise" and "noise_const" in name:
            assert not found[name].any()
        elif not ("alone" in form and name == "mapping.w_avg"):
            torch.testing.assert_close(
                found[name], value, atol=1e-3 if form == "half" else 0, rtol=2e-3 if form == "half" else 0
            )
    assert published.load_official(tmp_path / "wild.pt")["G_ema"](CODES).shape == (2, 3, 16, 16)


def test_safetensors_with_official_names_are_read(tmp_path, networks):
    state = networks["G_ema"].state_dict()
    whole = {f"{name}.{key}": value for name, part in networks.items() for key, value in part.state_dict().items()}
    for content in (state, whole):
        save_file(content, tmp_path / "wild.safetensors")
        same(published.read(tmp_path / "wild.safetensors")["G_ema"], networks["G_ema"])
    save_file({"a": torch.ones(1)}, tmp_path / "wild.safetensors")
    with pytest.raises(ValueError, match="holds no network by its official names"):
        published.read(tmp_path / "wild.safetensors")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            {"mapping.embed.weight": torch.ones(6, 10)},
            "is a generator of labelled classes: only StyleGAN2 without labels",
        ),
        ({"synthesis.L0_36_512.weight": torch.ones(1)}, "is a StyleGAN3: only StyleGAN2 is known"),
        ({"synthesis.b16.torgb.weight": torch.ones(1, 8, 1, 1)}, "makes pictures of 1 channels|of 3 channels"),
    ],
)
def test_cousins_are_called_by_their_names(tmp_path, networks, more, sentence):
    state = networks["G_ema"].state_dict()
    if "torgb" in next(iter(more)):
        more = {name: value[:1].clone() for name, value in state.items() if name.endswith("torgb.weight")}
    save_file({**state, **more}, tmp_path / "cousin.safetensors")
    with pytest.raises(ValueError, match=sentence):
        published.read(tmp_path / "cousin.safetensors")


def test_a_generators_file_fills_the_model_of_its_size(tmp_path):
    model, path = generators.build("stylegan2", "smoke"), tmp_path / "550000.pt"
    places = {"g_ema": "network", "d": "discriminator"}
    for parts in (["g_ema"], ["g_ema", "d"]):
        written, changed = {}, [places[part] for part in parts]
        for part in parts:
            network = model.get_submodule(places[part]).state_dict()
            written[part], mean = published_names.to_rosinality({name: value + 1 for name, value in network.items()})
            written |= {} if mean is None else {"latent_avg": mean}
        torch.save(written, path)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        assert model.load_official(path) is model
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, before[name] + (name.split(".")[0] in changed), msg=name)
    with pytest.raises(ValueError, match=r"550000\.pt holds a StyleGAN2 generator, but of another build than this one"):
        generators.build("stylegan2", "demo").load_official(path)


@pytest.fixture(scope="module")
def encoders() -> dict[str, psp.Encoder]:
    """Narrow ones for the generators here."""
    torch.manual_seed(5)
    return {kind: encoder(16, 16, 7).eval() for kind, encoder in published.ENCODERS.items()}


def encoders_file(path: Path, encoder: psp.Encoder, generator: Generator, **changed) -> Path:
    """A file as pSp's and e4e's training writes it."""
    theirs, mean = published_names.to_rosinality(generator.state_dict())
    state = {f"decoder.{name}": value for name, value in theirs.items()}
    state |= {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    options = {"encoder_type": type(encoder).__name__, "start_from_latent_avg": True, "lr": 1e-4}
    content = {"state_dict": state, "opts": options, "latent_avg": mean.expand(6, -1).clone()}
    torch.save({name: value for name, value in (content | changed).items() if value is not None}, path)
    return path


@pytest.mark.parametrize("kind", ["psp", "e4e"])
def test_psps_and_e4es_files_hold_an_encoder_and_a_generator(kind, tmp_path, networks, encoders):
    path = encoders_file(tmp_path / "encode.pt", encoders[kind], networks["G_ema"])
    assert set(published.read(path)) == {kind, "G_ema"}
    found = published.load_official(path)
    encoder, generator = found[kind], found["G_ema"]
    assert set(found) == {kind, "G_ema"}
    same(generator.state_dict(), networks["G_ema"])
    same(encoder.state_dict(), encoders[kind])
    assert type(encoder) is type(encoders[kind])
    images = torch.rand(2, 3, 40, 40) * 2 - 1
    with torch.no_grad():
        wanted = encoders[kind](images) + generator.mapping.w_avg
        torch.testing.assert_close(encoder(images), wanted)
    assert not any(parameter.requires_grad for parameter in (*encoder.parameters(), *generator.parameters()))


def test_a_file_without_a_mean_code_adds_none(tmp_path, networks, encoders):
    path = encoders_file(tmp_path / "encode.pt", encoders["psp"], networks["G_ema"], latent_avg=None)
    encoder = published.load_official(path)["psp"]
    assert encoder.latent_avg.shape == (6, 7)
    assert not encoder.latent_avg.any()


def test_other_encoders_are_refused(pickled, tmp_path, networks, encoders):
    with pytest.raises(ValueError, match=r"ffhq\.pkl holds no e4e, only G_ema: choose another file"):
        published.load_official(pickled)["e4e"]
    path = tmp_path / "other.pt"
    options = {"encoder_type": "BackboneEncoderUsingLastLayerIntoW"}
    encoders_file(path, encoders["psp"], networks["G_ema"], opts=options)
    with pytest.raises(ValueError, match=r"holds no psp, only G_ema: choose another file"):
        published.load_official(path)["psp"]
    labels = psp.GradualStyleEncoder(16, 16, 7)
    labels.input_layer[0] = torch.nn.Conv2d(19, 16, 3, 1, 1, bias=False)
    encoders_file(path, labels, networks["G_ema"])
    with pytest.raises(ValueError, match=r"encoder of another build: .* in three colours"):
        published.load_official(path)
    encoders_file(path, psp.Encoder4Editing(32, 16, 7), networks["G_ema"], latent_avg=None)
    with pytest.raises(ValueError, match=r"an encoder to \(8, 7\) and a generator of 6 layers"):
        published.load_official(path)


# ---------------------------------------------------------------------------------------------- FaceVid2Vid


@pytest.fixture(scope="module")
def driving() -> FaceVid2Vid:
    torch.manual_seed(6)
    return FaceVid2Vid(2).eval()


def drivers_file(path: Path, network: FaceVid2Vid) -> Path:
    """A checkpoint as its training writes it."""
    content = {name: part.state_dict() for name, part in network.named_children()}
    optimiser = torch.optim.Adam(network.parameters())
    torch.save(content | {"optimizer_generator": optimiser.state_dict(), "epoch": 189}, path)
    return path


def test_facevid2vids_file_is_read(tmp_path, driving):
    path = drivers_file(tmp_path / "00000189-checkpoint.pth.tar", driving)
    network = published.load_official(path)["facevid2vid"]
    same(network.state_dict(), driving)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_other_builds_of_facevid2vid_are_refused(pickled, tmp_path, driving):
    with pytest.raises(ValueError, match=r"ffhq\.pkl holds no facevid2vid, only G_ema: choose another file"):
        published.load_official(pickled)["facevid2vid"]
    path = drivers_file(tmp_path / "other.pth.tar", driving)
    content = torch.load(path, weights_only=True)
    del content["generator"]["decoder.fc.weight"]
    torch.save(content, path)
    with pytest.raises(ValueError, match="FaceVid2Vid of another build"):
        published.load_official(path)


# ---------------------------------------------------------------------------------------------- hostile files


class Evil:
    """Calls something when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("hostile")


def _nested(evil: Evil, depth: int) -> object:
    return [evil, {"G_ema": evil}, ({"state": {"_parameters": {"w": evil}}}, evil), OrderedDict(a=[evil])][depth]


def _storage_bytes(evil: Evil) -> object:
    """Torch's own format, within which a tensor's numbers lie in NVIDIA's pickles."""
    buffer = io.BytesIO()
    torch.save(evil, buffer, _use_new_zipfile_serialization=False)
    return Evil(torch.storage._load_from_bytes, buffer.getvalue())


@given(st.integers(0, 3), st.integers(0, 4), st.booleans(), st.integers(2, 5))
def test_nothing_is_executed(place, kind, depth, stored, protocol):
    marker, path = place / "executed", place / "evil.pkl"
    text = f"open({str(marker)!r}, 'w').close()"
    evil = [
        Evil(os.system, f"touch {marker}"), Evil(eval, text), Evil(exec, text),
        Evil(subprocess.check_call, ["touch", str(marker)]),
    ][kind]  # fmt: skip
    name = ["system", "eval", "exec", "check_call"][kind]
    evil = _storage_bytes(evil) if stored else evil
    path.write_bytes(pickle.dumps(evil if depth == 4 else _nested(evil, depth), protocol))
    with pytest.raises(ValueError, match=r"evil\.pkl") as error:
        published.read(path)
    assert f"{name}, which weights don't need: nothing in it was executed" in str(error.value)
    assert not marker.exists()


def test_a_torch_file_that_runs_code_is_refused(tmp_path):
    marker, path = tmp_path / "executed", tmp_path / "evil.pt"
    torch.save({"g_ema": Evil(os.system, f"touch {marker}")}, path)
    with pytest.raises(ValueError, match=r"evil\.pt is damaged, or it holds code, .*\.system"):
        published.read(path)
    assert not marker.exists()


class Given:
    """Pickled as a call with these arguments, and a state that is set afterwards."""

    def __init__(self, function, arguments, state=None):
        self.function, self.arguments, self.state = function, arguments, state

    def __reduce__(self):
        return (self.function, self.arguments, self.state)[: 2 + (self.state is not None)]


_make_array = np.empty(0).__reduce__()[0]
_make_scalar = np.float32(1).__reduce__()[0]
_PLAIN = (3, "<", None, None, None, -1, -1, 0)
_OBJECTS = (3, "|", None, None, None, 8, 8, 63)  # says that it holds objects


def _forged_array(code, kind_state, shape, data):
    kind = Given(np.dtype, (code, False, True), kind_state)
    return Given(_make_array, (np.ndarray, (0,), b"b"), (1, shape, kind, False, data))


@pytest.mark.parametrize(
    "content",
    [
        _forged_array("O8", _OBJECTS, (1,), b"A" * 8),
        _forged_array("V8", (3, "|", None, ("a",), {"a": ("O", 0)}, 8, 8, 16), (1,), b"A" * 8),
        _forged_array("f4", _PLAIN, (1 << 40,), b"A" * 8),
        _forged_array("f4", _PLAIN, (-2, -1), b"A" * 8),
        _forged_array("f4", _PLAIN, (2,), b"A" * 7),
        _forged_array("f4", _PLAIN, (2,), [1.0, 2.0]),
        Given(_make_scalar, (Given(np.dtype, ("O8", False, True), _OBJECTS), b"A" * 8)),
        Given(_make_scalar, (Given(np.dtype, ("f8", False, True), _PLAIN), b"A")),
        Given(_make_scalar, (Given(np.dtype, ("f8", False, True), _PLAIN), b"")),
    ],
)
def test_arrays_of_anything_but_plain_numbers_are_refused(place, content):
    path = place / "array.pkl"
    path.write_bytes(pickle.dumps({"G_ema": content}, 2))
    with pytest.raises(ValueError, match=r"array\.pkl"):
        published.read(path)


@given(st.sampled_from(["f2", "f4", "f8", "i4", "u1"]), st.sampled_from("<>"), st.lists(st.integers(1, 4), max_size=3))
def test_plain_arrays_are_read_as_numpy_reads_them(place, code, order, shape):
    array = np.arange(math.prod(shape)).reshape(shape).astype(f"{order if code != 'u1' else '|'}{code}")
    path, content = place / "plain.pkl", [array, np.asfortranarray(array), array.flat[0]]
    path.write_bytes(pickle.dumps(content))
    for found, wanted in zip(unpickle(path), pickle.loads(path.read_bytes()), strict=True):
        assert np.array_equal(found, wanted)
        assert found.dtype == wanted.dtype


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02Nr\x00\x00\x00\x10.",  # twelve bytes that ask for a memo of 2^28 places
        b"\x80\x02Np268435456\n.",
        b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"a.",  # bytes of a length that isn't there
        b"\x80\x05\x96" + (1 << 34).to_bytes(8, "little") + b"a.",
        b"\x80\x04\x95" + (1 << 40).to_bytes(8, "little") + b"N.",
        b"\x80\x05\x97.",  # a buffer from outside
        b"\x80\x02\x82\x01.",
        b"P1\n.",
    ],
)
def test_lengths_that_a_file_doesnt_have_allocate_nothing(place, data):
    path = place / "bomb.pkl"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"bomb\.pkl"):
            published.read(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (1000, 1000), (1000, 1)),
        (4, (1,), (1,)),
        (0, (4, 4), (0, 1)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (2, 2), (1,)),
    ],
)
def test_tensors_beyond_their_own_data_are_refused(place, offset, size, stride):
    path = place / "tensor.pkl"
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        torch.save(torch.ones(4).storage(), buffer, _use_new_zipfile_serialization=False)
    storage = Given(torch.storage._load_from_bytes, (buffer.getvalue(),))
    content = Given(torch._utils._rebuild_tensor_v2, (storage, offset, size, stride, False, OrderedDict()))
    path.write_bytes(pickle.dumps({"G_ema": content}))
    with pytest.raises(ValueError, match=r"tensor\.pkl asks for a tensor (beyond its own data|without a shape)"):
        published.read(path)


def test_numbers_that_are_none_and_web_pages_are_refused(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": {"a": torch.tensor([1.0, float("nan")])}}, path)
    with pytest.raises(ValueError, match="not finite"):
        weights.read_tensors(path)
    path.write_text("\n<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title>")
    with pytest.raises(ValueError, match="is a web page, not weights: open its address in a browser"):
        weights.read_tensors(path)
    deep = [torch.ones(1)]
    for _ in range(40):
        deep = [deep]
    torch.save({"state_dict": deep}, path)
    with pytest.raises(ValueError, match="nested too deeply"):
        weights.read_content(path)


_WORD = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)


@given(_WORD, _WORD)
def test_an_unknown_global_is_named(place, module, name):
    path = place / "unknown.pkl"
    path.write_bytes(b"\x80\x02c" + f"{module}\n{name}\n".encode() + b".")
    with pytest.raises(ValueError, match=f"unknown.pkl asks for {module}.{name}, which weights don't need"):
        published.read(path)


@given(st.binary(max_size=200))
def test_any_other_bytes_get_a_sentence(place, data):
    for suffix in (".pkl", ".pt", ".safetensors"):
        path = place / f"noise{suffix}"
        path.write_bytes(data)
        with pytest.raises(ValueError, match="noise") as error:
            published.read(path)
        assert "\n" not in str(error.value)


_KEYS = st.sampled_from(
    ["G", "D", "G_ema", "g_ema", "state_dict", "latent_avg", "generator", "kp_detector", "he_estimator"]
)
_ANY = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner, inner) | st.dictionaries(_KEYS, inner),
    max_leaves=6,
)


@given(_ANY)
def test_any_other_content_gets_a_sentence(place, content):
    path = place / "other.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"other\.pkl"):
        published.read(path)
    torch.save(content, path.with_suffix(".pt"))
    with pytest.raises(ValueError, match=r"other\.pt"):
        published.read(path.with_suffix(".pt"))


def test_wrong_names_get_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        published.read(tmp_path / "nowhere.pkl")
    result = CliRunner().invoke(app, ["import", str(tmp_path / "nowhere.pkl"), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "there is no file" in result.stderr
