"""The training loop, on two toy families: an auto-encoder with noise, and a GAN whose generator trains lazily."""

from __future__ import annotations

import csv
import errno
import math
import multiprocessing
import os
import random
import shutil
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import drawn
import numpy as np
import pytest
import torch
from PIL import Image
from ports import find_port
from torch import nn

from swaplib import data, families
from swaplib.faces import CELEBAMASK_HQ, LANDMARK_MIRROR, Faces
from swaplib.families import Family, Part, Phase
from swaplib.training import runtime
from swaplib.training.loop import restore, train
from swaplib.training.model import constant, cosine, drops

FACES = drawn.faces(24, 16, 0)
PLAIN = {"precision": "fp32", "progress": False, "device": "cpu"}

# ---------------------------------------------------------------------------------------------- toys


@dataclass(frozen=True)
class ToyConfig:
    size: int = 8
    code: int = 12
    rec: float = 2.0
    noise: float = 0.1
    real: float = 1.0
    fake: float = 1.0
    fool: float = 0.5


class Auto(Family):
    """A linear auto-encoder whose loss takes random numbers from all three generators."""

    name = "auto"
    Config = ToyConfig
    swap_parts = ("code",)

    def __init__(self, config: ToyConfig):
        super().__init__(config)
        torch.manual_seed(0)
        pixels = 3 * config.size**2
        self.parts = (Part("code", (config.code,)),)
        self.encoder, self.norm = nn.Linear(pixels, config.code), nn.BatchNorm1d(config.code)
        self.decoder = nn.Linear(config.code, pixels)
        self.judge = nn.Linear(pixels, 1).requires_grad_(False)

    def encode(self, faces):
        return {"code": self.norm(self.encoder(faces.images.flatten(1)))}

    def decode(self, codes):
        return self.decoder(codes["code"]).view(-1, 3, self.config.size, self.config.size)

    def phases(self):
        return [Phase("auto", self.parameters(), self.losses, learning_rate=1e-2)]

    def losses(self, faces):
        code = self.encode(faces)["code"]
        noisy = code + 0.05 * torch.randn_like(code) + 0.01 * random.random() + 0.01 * np.random.rand()  # noqa: NPY002
        return {"rec": (self.decode({"code": noisy}) - faces.images).abs().mean(), "noise": noisy.square().mean()}


class Gan(Family):
    """Two phases with their own parameters; the generator learns in every second step."""

    name = "gan"
    Config = ToyConfig
    swap_parts = ("code",)
    training_only = ("discriminator",)

    def __init__(self, config: ToyConfig):
        super().__init__(config)
        torch.manual_seed(1)
        self.parts = (Part("code", (config.code,)),)
        self.generator = nn.Sequential(nn.Linear(config.code, 3 * config.size**2), nn.Tanh())
        self.discriminator = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(), nn.LazyLinear(1))
        self.discriminator(torch.zeros(1, 3, config.size, config.size))

    def decode(self, codes):
        return self.generator(codes["code"]).view(-1, 3, self.config.size, self.config.size)

    def phases(self):
        return [
            Phase("discriminator", self.discriminator.parameters(), self.criticise, learning_rate=1e-3),
            Phase("generator", self.generator.parameters(), self.fool, every=2, learning_rate=1e-3),
        ]

    def criticise(self, faces):
        with torch.no_grad():
            fakes = self.decode({"code": torch.randn(len(faces), self.config.code)})
        real, fake = self.discriminator(faces.images), self.discriminator(fakes)
        return {"real": nn.functional.softplus(-real).mean(), "fake": nn.functional.softplus(fake).mean()}

    def fool(self, faces):
        fakes = self.decode({"code": torch.randn(len(faces), self.config.code)})
        return {"fool": nn.functional.softplus(-self.discriminator(fakes)).mean()}


def run(family, steps, folder=None, **more) -> list:
    return list(train(family, FACES, steps, folder=folder, **{**PLAIN, "batch": 6, "checkpoint_every": 3, **more}))


def checkpoint(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def tensors(content, prefix="") -> dict[str, torch.Tensor]:
    """Every tensor of nested dicts and lists, by path."""
    if isinstance(content, torch.Tensor):
        return {prefix: content}
    items = content.items() if isinstance(content, dict) else enumerate(content)
    nested = [tensors(v, f"{prefix}/{k}") for k, v in items if isinstance(v, (dict, list, torch.Tensor))]
    return {name: tensor for part in nested for name, tensor in part.items()}


def assert_same(folder: Path, other: Path) -> None:
    """Checkpoints equal bit for bit but for the clock, logs likewise."""
    one, two = checkpoint(folder), checkpoint(other)
    assert {**one, "seconds": 0}.keys() == two.keys()
    assert (one["step"], one["settings"]) == (two["step"], two["settings"])
    first, second = tensors(one), tensors(two)
    assert len(first) > 20
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    assert log(folder) == log(other)


def log(folder: Path) -> list[dict]:
    with open(folder / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row.pop("seconds") for row in rows)
    return rows


# ---------------------------------------------------------------------------------------------- learning


def test_losses_fall_and_steps_tell():
    steps = run(Auto(ToyConfig()), 150)
    assert [step.step for step in steps] == list(range(1, 151))
    assert [step.images for step in steps[:3]] == [6, 12, 18]
    assert steps[-1].losses["auto"]["rec"] < 0.5 * steps[0].losses["auto"]["rec"]
    for step in steps:
        losses = step.losses["auto"]
        assert step.totals["auto"] == pytest.approx(2.0 * losses["rec"] + 0.1 * losses["noise"], rel=1e-5)
    assert [step.end for step in steps] == [None] * 149 + ["steps"]
    assert np.all(np.diff([step.seconds for step in steps]) > 0)


def test_a_phase_changes_its_own_parameters_alone():
    family = Gan(ToyConfig())
    seen = []

    def watch(losses, trained, still):
        def call(faces):
            seen.append(all(p.requires_grad for p in trained) and not any(p.requires_grad for p in still))
            return losses(faces)

        return call

    discriminator, generator = family.phases()
    family.phases = lambda: [
        replace(
            discriminator,
            losses=watch(discriminator.losses, [*family.discriminator.parameters()], [*family.generator.parameters()]),
        ),
        replace(generator, learning_rate=0.0),
    ]
    before = {name: value.clone() for name, value in family.state_dict().items()}
    run(family, 3, flips=False)
    assert all(seen[1:])
    assert len(seen) == 4  # once on the copy that tells the losses' names
    after = family.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"discriminator"}
    assert all(parameter.requires_grad for parameter in family.parameters())


def test_parameters_without_gradient_stay_out():
    family = Auto(ToyConfig())
    before = family.judge.weight.clone()
    run(family, 3)
    assert torch.equal(family.judge.weight, before)
    assert not family.judge.weight.requires_grad


def test_lazy_phases_run_once_in_so_many_steps(tmp_path):
    steps = run(Gan(ToyConfig()), 5, tmp_path)
    assert ["generator" in step.losses for step in steps] == [True, False, True, False, True]
    assert ["discriminator" in step.totals for step in steps] == [True] * 5
    rows = log(tmp_path)
    assert [bool(row["generator/fool"]) for row in rows] == [True, False, True, False, True]
    assert list(rows[0]) == [
        *(
            "step",
            "images",
            "rate",
            "discriminator/real",
            "discriminator/fake",
            "discriminator/total",
            "generator/fool",
            "generator/total",
        )
    ]


def test_averaged_weights_follow():
    family = Auto(ToyConfig())
    start, weights = family.decoder.weight.detach().clone(), []
    for step in train(family, FACES, 4, ema=0.3, batch=6, **PLAIN):
        weights.append(family.decoder.weight.detach().clone())
        assert not step.model.training
        assert step.model is not family
    average = start
    for k, weight in enumerate(weights):
        decay = min(0.3, (1 + k) / (10 + k))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(step.model.decoder.weight, average)
    assert not family.training
    assert step.model.norm.num_batches_tracked == 4
    step = run(Auto(ToyConfig()), 4, ema=0.0)[-1]
    assert torch.equal(step.model.decoder.weight, weights[-1])
    assert step.model.swap(FACES[:2].resize(8), FACES[2:4].resize(8)).shape == (2, 3, 8, 8)


def test_learning_rates_follow_the_schedule():
    assert [cosine(1, 0.1)(p) for p in (0, 0.5, 1, 1.2)] == pytest.approx([1, 0.55, 0.1, 0.1])
    assert [cosine(0.4, 0.2)(p) for p in (0, 0.5, 1)] == pytest.approx([0.4, 0.3, 0.2])
    assert constant(0.7) == 1
    # Smooth-Swap's embedder: a tenth at 60, 75 and 90% of the steps.
    assert [drops(0.1, 0.6, 0.75, 0.9)(p) for p in (0, 0.59, 0.6, 0.8, 1)] == pytest.approx([1, 1, 0.1, 0.01, 0.001])
    steps = run(Auto(ToyConfig()), 4, schedule=lambda progress: progress)
    assert [step.rate for step in steps] == [0, 0.25, 0.5, 0.75]
    family = Auto(ToyConfig())
    start, moved = Auto(ToyConfig()).decoder.bias.detach(), []
    for _ in train(family, FACES, 2, batch=6, schedule=lambda p: 0.5 if p else 0.0, **PLAIN):
        moved.append(float((family.decoder.bias.detach() - start).abs().max()))
    assert moved[0] == 0
    assert moved[1] == pytest.approx(0.5 * 1e-2, rel=0.35)  # Adam's early steps are about the learning rate


# ---------------------------------------------------------------------------------------------- data


def _seen(faces, count, batch=4, **more) -> list[Faces]:
    settings = {"size": 16, "seed": 3, "flips": False, "start": 0, "share": slice(None), "workers": 2} | more
    stream = runtime.batches(faces, batch=batch, **settings)
    return [next(stream) for _ in range(count)]


NUMBERED = replace(drawn.faces(10, 16, 1), identity=torch.arange(10))


def test_every_face_comes_once_in_an_epoch():
    order = [int(k) for faces in _seen(NUMBERED, 10) for k in faces.identity]
    epochs = [order[k : k + 10] for k in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert [int(k) for faces in _seen(NUMBERED, 10) for k in faces.identity] == order
    assert [int(k) for faces in _seen(NUMBERED, 10, seed=4) for k in faces.identity] != order
    later = [int(k) for faces in _seen(NUMBERED, 7, start=3) for k in faces.identity]
    assert later == order[12:]
    shares = [[f.identity for f in _seen(NUMBERED, 10, share=slice(k, k + 2))] for k in (0, 2)]
    assert [int(k) for pair in zip(*shares, strict=True) for k in torch.cat(pair)] == order


def test_flips_mirror_labels_and_landmarks_too():
    flipped = 0
    for faces in _seen(NUMBERED, 10, flips=True):
        for face in faces:
            original = NUMBERED[int(face.identity)]
            if not torch.equal(face.images, original.images):
                flipped += 1
                assert torch.equal(face.images, original.images.flip(-1))
                mirrored = original.landmarks[0, list(LANDMARK_MIRROR)]
                assert torch.equal(face.landmarks[0, :, 0], 15 - mirrored[:, 0])
                left = CELEBAMASK_HQ.index("left_eye")
                assert torch.equal(face.labels == left, original.labels.flip(-1) == CELEBAMASK_HQ.index("right_eye"))
    assert 10 <= flipped <= 30


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return data.render(tmp_path_factory.mktemp("data") / "faces", 5, size=64, jobs=1, progress=False)


def test_prepared_data_sets_are_resized(prepared):
    faces = data.open(prepared)
    for batch in _seen(faces, 3, batch=2, size=32):
        assert batch.size == (32, 32)
        assert batch.factors is not None
        original = faces[[list(faces.metadata["file"]).index(name) for name in batch.names]]
        assert torch.equal(batch.images, original.resize(32).images)
    mirrored = _seen(faces, 3, batch=4, flips=True)
    assert sorted(name for batch in mirrored for name in batch.names)[:3] == ["images/00000000.png"] * 3
    assert len(list(train(Auto(ToyConfig()), faces, 2, batch=4, **PLAIN))) == 2


def test_an_unreadable_picture_is_named(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "faces")
    (tmp_path / "faces/images/00000001.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"00000001\.png can't be read"):
        list(train(Auto(ToyConfig()), data.open(tmp_path / "faces"), 3, batch=3, **PLAIN))


def test_random_numbers_of_the_caller_and_of_the_run_are_apart():
    quiet = run(Auto(ToyConfig()), 4)
    random.seed(5), np.random.seed(5), torch.manual_seed(5)  # noqa: NPY002
    expected = random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
    random.seed(5), np.random.seed(5)  # noqa: NPY002
    family = Auto(ToyConfig())
    torch.manual_seed(5)
    steps = []
    for step in train(family, FACES, 4, batch=6, **PLAIN):
        steps.append(step)
        if len(steps) == 1:
            assert (random.random(), np.random.rand(), torch.rand(1)) == expected  # noqa: NPY002
    assert [step.losses for step in steps] == [step.losses for step in quiet]
    assert [step.losses for step in run(Auto(ToyConfig()), 4, seed=1)] != [step.losses for step in quiet]


# ---------------------------------------------------------------------------------------------- stop and go on


@pytest.mark.parametrize("toy", [Auto, Gan])
def test_a_resumed_run_equals_an_uninterrupted_one(toy, tmp_path):
    run(toy(ToyConfig()), 11, tmp_path / "whole")
    run(toy(ToyConfig()), 4, tmp_path / "parts")
    for step in train(toy(ToyConfig()), FACES, 11, folder=tmp_path / "parts", resume=True, batch=6, **PLAIN):
        assert step.step >= 5
        if step.step == 7:
            break  # leaving the loop saves
    assert checkpoint(tmp_path / "parts")["step"] == 7
    steps = run(toy(ToyConfig()), 11, tmp_path / "parts", resume=True)
    assert [step.step for step in steps] == [8, 9, 10, 11]
    assert_same(tmp_path / "whole", tmp_path / "parts")
    assert run(toy(ToyConfig()), 11, tmp_path / "parts", resume=True) == []
    family = toy(ToyConfig())
    assert restore(family, tmp_path / "parts")["images"] == 66
    assert not family.training
    for name, value in family.state_dict().items():
        assert torch.equal(value, steps[-1].model.state_dict()[name])
    restore(family, tmp_path / "parts", ema=False)
    assert torch.equal(tensors(family.state_dict())["/" + name], checkpoint(tmp_path / "parts")["weights"][name])


def test_the_log_is_cut_to_the_checkpoint(tmp_path):
    run(Auto(ToyConfig()), 4, tmp_path)
    with open(tmp_path / "log.csv", "a") as file:
        file.write("5,30,1.0,1,0.5,0.5,0.5\r\n1")  # written after the checkpoint, the last row torn
    run(Auto(ToyConfig()), 6, tmp_path, resume=True)
    run(Auto(ToyConfig()), 6, tmp_path / "whole")
    assert log(tmp_path) == log(tmp_path / "whole")


def _slow(folder: Path) -> None:
    """In a process of its own: train slowly enough to be hit."""
    for _ in train(Gan(ToyConfig()), FACES, 150, folder=folder, resume=True, batch=6, checkpoint_every=2, **PLAIN):
        time.sleep(0.02)


def _killed_while_saving(folder: Path, name: str, call: int) -> None:
    """In a process of its own: SIGKILL at the so-manieth call of os.fsync, or of the rename."""
    place, calls = {"fsync": (os, "fsync"), "replace": (Path, "replace"), "save": (torch, "save")}[name], []
    original = getattr(*place)

    def hit(*arguments, **more):
        calls.append(1)
        if name == "save" and len(calls) == call:
            arguments[1].write(b"half a checkpoint")
            arguments[1].flush()
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **more)

    setattr(*place, hit)
    run(Gan(ToyConfig()), 12, folder, resume=True)


@pytest.fixture(scope="module")
def processes():
    """Processes that start at once, with everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["drawn", "swaplib.training.loop"])
    return context


@pytest.mark.parametrize(("name", "call"), [("save", 1), ("save", 3), ("fsync", 2), ("replace", 1), ("replace", 4)])
def test_killed_while_saving(processes, tmp_path, name, call):
    child = processes.Process(target=_killed_while_saving, args=(tmp_path / "killed", name, call))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    run(Gan(ToyConfig()), 12, tmp_path / "killed", resume=True)
    run(Gan(ToyConfig()), 12, tmp_path / "whole")
    assert_same(tmp_path / "killed", tmp_path / "whole")
    assert not [path for path in (tmp_path / "killed").iterdir() if path.name.startswith(".checkpoint")]


def test_killed_at_any_moment(processes, tmp_path):
    folder, draw = tmp_path / "killed", np.random.default_rng()
    for _ in range(4):
        done = checkpoint(folder)["step"] if (folder / "checkpoint.pt").exists() else 0
        child = processes.Process(target=_slow, args=(folder,))
        child.start()
        while child.is_alive() and _rows(folder) < done + 3:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.08))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
    assert 4 <= checkpoint(folder)["step"] < 150
    for name in ("killed", "whole"):
        run(Gan(ToyConfig()), 150, tmp_path / name, resume=True, checkpoint_every=2)
    assert_same(folder, tmp_path / "whole")


def _rows(folder: Path) -> int:
    log = folder / "log.csv"
    return len(log.read_text().splitlines()) - 1 if log.exists() else 0


class Signalled(Auto):
    """Sends itself a signal in the middle of its third step."""

    sent = signal.SIGTERM

    def losses(self, faces):
        if self.training and self.norm.num_batches_tracked == 2:
            os.kill(os.getpid(), self.sent)
        return super().losses(faces)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_signals_let_the_step_finish_and_save(sent, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Signalled, "sent", sent)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    steps = run(Signalled(ToyConfig()), 8, tmp_path / "parts", checkpoint_every=100)
    assert [step.end for step in steps] == [None, None, sent.name]
    assert f"{sent.name}: stopped after step 3" in capsys.readouterr().err
    assert checkpoint(tmp_path / "parts")["step"] == 3
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    run(Auto(ToyConfig()), 8, tmp_path / "parts", resume=True)
    run(Auto(ToyConfig()), 8, tmp_path / "whole")
    assert_same(tmp_path / "parts", tmp_path / "whole")


def test_minutes_are_a_budget_of_all_runs_together(tmp_path):
    steps = run(Auto(ToyConfig()), None, tmp_path, minutes=0.2 / 60, schedule=cosine(1, 0))
    assert steps[-1].end == "minutes"
    assert steps[-1].seconds >= 0.2 > steps[-2].seconds
    assert steps[-1].rate < 0.2
    again = run(Auto(ToyConfig()), None, tmp_path, minutes=0.3 / 60, resume=True)
    assert again[0].step == steps[-1].step + 1
    assert again[-1].seconds >= 0.3 > again[0].seconds > 0.2
    assert run(Auto(ToyConfig()), None, tmp_path, minutes=0.3 / 60, resume=True) == []


# ---------------------------------------------------------------------------------------------- what goes wrong


class Broken(Auto):
    """In its fourth step a loss is no longer finite (`how` = loss), or only a gradient isn't (gradient)."""

    how = "loss"

    def losses(self, faces):
        losses = super().losses(faces)
        if self.norm.num_batches_tracked == 4 and self.how == "loss":
            losses["noise"] = losses["noise"] * math.inf
        if self.norm.num_batches_tracked == 6 and self.how == "gradient":
            losses["noise"] = losses["noise"] + torch.sqrt(self.encoder.weight.sum() * 0)
        return losses


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(FloatingPointError, match=r"loss auto/noise became inf in step 4; .*is still that of step 3"):
        run(Broken(ToyConfig()), 8, tmp_path)
    assert checkpoint(tmp_path)["step"] == 3
    assert len(log(tmp_path)) == 3


def test_weights_that_are_not_finite_are_not_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(Broken, "how", "gradient")
    with pytest.raises(FloatingPointError, match=r"encoder.weight is no longer finite after step 6.*that of step 3"):
        run(Broken(ToyConfig()), 8, tmp_path)
    assert checkpoint(tmp_path)["step"] == 3


class Unweighted(Auto):
    def losses(self, faces):
        return {**super().losses(faces), "style": faces.images.mean()}


class Changing(Auto):
    def losses(self, faces):
        losses = super().losses(faces)
        return losses if self.norm.num_batches_tracked < 3 else {"rec": losses["rec"]}


def test_losses_must_have_weights_and_stay_the_same():
    family = Unweighted(ToyConfig())
    before = [value.clone() for value in family.state_dict().values()]
    with pytest.raises(ValueError, match=r"auto/style has no weight: give ToyConfig a number named 'style'"):
        train(family, FACES, 3, **PLAIN)
    assert all(torch.equal(a, b) for a, b in zip(before, family.state_dict().values(), strict=True))
    with pytest.raises(ValueError, match=r"returned rec in step 3 and rec, noise before"):
        run(Changing(ToyConfig()), 5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": None}, "give steps, minutes or both"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"ema": 1.0}, r"ema must be in \[0, 1\)"),
        ({"precision": "fp8"}, "unknown precision 'fp8': choose one of auto, bf16, tf32, fp32"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"data": FACES[[]]}, "there are no faces to train on"),
    ],
)
def test_arguments_are_checked_before_anything_runs(change, sentence):
    arguments = {"data": FACES, "steps": 3, "progress": False, **change}
    with pytest.raises(ValueError, match=sentence):
        train(Auto(ToyConfig()), **arguments)


def test_a_family_with_nothing_to_learn_is_refused():
    with pytest.raises(ValueError, match="landmarks has nothing to learn"):
        train(families.load("landmarks", "smoke"), FACES, 3, **PLAIN)


def test_a_folder_keeps_its_run(tmp_path):
    run(Auto(ToyConfig()), 2, tmp_path)
    whole = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(ValueError, match=r"holds a run of 2 steps: resume it"):
        run(Auto(ToyConfig()), 4, tmp_path)
    with pytest.raises(ValueError, match=r"is of a run with seed=0 \(here 1\), batch=6 \(here 4\)"):
        run(Auto(ToyConfig()), 4, tmp_path, resume=True, seed=1, batch=4)
    with pytest.raises(ValueError, match="is a checkpoint of auto, not of gan"):
        run(Gan(ToyConfig()), 4, tmp_path, resume=True)
    with pytest.raises(ValueError, match=r"is of a auto with code=12 \(here 6\)"):
        restore(Auto(ToyConfig(code=6)), tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == whole
    for damaged in (whole[:1000], b"", b"text"):
        (tmp_path / "checkpoint.pt").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"checkpoint\.pt is (damaged|empty)"):
            run(Auto(ToyConfig()), 4, tmp_path, resume=True)
    with pytest.raises(FileNotFoundError, match="train with this folder first"):
        restore(Auto(ToyConfig()), tmp_path / "nowhere")


@pytest.mark.parametrize(
    "content",
    [
        [1, 2], 3.0, {}, {"state_dict": {"w": torch.ones(1)}}, {"family": "auto"}, torch.ones(2),
        {"family": "auto", "config": "[]", "settings": {}, "step": 1, "seconds": 0.0, "weights": {}, "ema": {},
         "optimisers": {}},
        {"family": "auto", "config": "{}", "settings": {}, "step": 1, "seconds": 0.0, "weights": {"w": 1.0}, "ema": {},
         "optimisers": {}},
    ],
)  # fmt: skip
def test_foreign_checkpoints_get_a_sentence(tmp_path, content):
    torch.save(content, tmp_path / "checkpoint.pt")
    for attempt in (
        lambda: run(Auto(ToyConfig()), 4, tmp_path, resume=True),
        lambda: restore(Auto(ToyConfig()), tmp_path),
    ):
        with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged"):
            attempt()


def test_two_runs_dont_work_in_one_folder(tmp_path):
    steps = train(Auto(ToyConfig()), FACES, 4, folder=tmp_path, **PLAIN)
    next(steps)
    with pytest.raises(ValueError, match="another process works in"):
        train(Auto(ToyConfig()), FACES, 8, folder=tmp_path, resume=True, **PLAIN)
    steps.close()
    assert sum(1 for _ in train(Auto(ToyConfig()), FACES, 4, folder=tmp_path, resume=True, **PLAIN)) == 3
    assert not list(train(Auto(ToyConfig()), FACES, 4, folder=tmp_path, resume=True, **PLAIN))
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", "log.csv"}


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    run(Auto(ToyConfig()), 3, tmp_path / "run")

    def full(content, file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(OSError, match=r"could not write .*checkpoint\.pt .*No space left.*saved before is kept"):
            run(Auto(ToyConfig()), 6, tmp_path / "run", resume=True)
    assert checkpoint(tmp_path / "run")["step"] == 3
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="choose another folder"):
        run(Auto(ToyConfig()), 3, tmp_path / "file")
    run(Auto(ToyConfig()), 6, tmp_path / "run", resume=True)
    run(Auto(ToyConfig()), 6, tmp_path / "whole")
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_sample_grids_are_saved_and_marked(tmp_path):
    run(Auto(ToyConfig()), 5, tmp_path, preview_every=2, preview=lambda family: family.swap(EIGHT, EIGHT))
    pictures = sorted((tmp_path / "previews").iterdir())
    assert [path.name for path in pictures] == ["00000002.png", "00000004.png", "00000005.png"]
    with Image.open(pictures[0]) as picture:
        assert picture.size == (16, 16)  # 2 x 2 pictures of 8 pixels, the last place empty
        assert "trainedAlgorithmicMedia" in picture.text["XML:com.adobe.xmp"]
        assert picture.getpixel((15, 15)) == (255, 255, 255)


def test_losses_of_held_out_faces_are_logged_and_change_nothing(tmp_path):
    others = drawn.faces(20, 16, 1)
    for name, kind in (("auto", Auto), ("gan", Gan)):
        run(kind(ToyConfig()), 5, tmp_path / name, checked=others, check_every=2)
        run(kind(ToyConfig()), 5, tmp_path / f"{name}, unchecked")
        first, second = (tensors(checkpoint(tmp_path / folder)) for folder in (name, f"{name}, unchecked"))
        assert all(torch.equal(first[key], second[key]) for key in second)
    with open(tmp_path / "gan" / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["discriminator/real held out"]) for row in rows] == [False, True, False, True, True]
    assert "generator/fool held out" in rows[0]
    assert "generator/total held out" not in rows[0]
    learned = Gan(ToyConfig())
    restore(learned, tmp_path / "gan", ema=False)
    real = nn.functional.softplus(-learned.discriminator(others[:18].resize(8).images)).mean().item()
    assert float(rows[-1]["discriminator/real held out"]) == pytest.approx(real, rel=1e-4)  # of three whole batches


EIGHT = FACES[:3].resize(8)

# ---------------------------------------------------------------------------------------------- processors


class Convolutional(Gan):
    """Notes what the discriminator gets and gives."""

    def criticise(self, faces):
        values = self.discriminator[0](faces.images)
        self.noted = faces.images.is_contiguous(memory_format=torch.channels_last), values.dtype
        return super().criticise(faces)


def test_bf16_keeps_weights_in_32_bits_and_goes_on_bitwise_too(tmp_path):
    family = Convolutional(ToyConfig(size=16))
    steps = run(family, 30, tmp_path / "whole", precision="bf16")
    assert family.noted == (True, torch.bfloat16)
    assert family.discriminator[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert {value.dtype for name, value in tensors(checkpoint(tmp_path / "whole")["weights"]).items()} == {
        torch.float32
    }
    assert steps[-1].totals["discriminator"] < steps[0].totals["discriminator"]
    run(Convolutional(ToyConfig(size=16)), 10, tmp_path / "parts", precision="bf16")
    run(Convolutional(ToyConfig(size=16)), 30, tmp_path / "parts", precision="bf16", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")
    run(family, 1, precision="fp32")
    assert family.noted == (True, torch.float32)


@pytest.mark.parametrize(
    ("device", "able", "seconds", "wanted"),
    [
        ("cuda", False, None, "bf16"),
        ("cpu", True, (1.0, 2.0), "bf16"),
        ("cpu", True, (2.0, 1.5), "fp32"),
        ("cpu", False, None, "fp32"),  # emulated: not even measured
    ],
)
def test_auto_is_the_fastest_precision(device, able, seconds, wanted, monkeypatch, tmp_path):
    monkeypatch.setenv("SWAPLIB_CACHE", str(tmp_path))
    measured = []
    monkeypatch.setattr(runtime, "_bf16_of_cpu", lambda: {"AVX-512": able})
    monkeypatch.setattr(runtime, "_time_steps", lambda: measured.append(seconds) or seconds)
    assert runtime.choose_precision(device) == runtime.choose_precision(device) == wanted
    assert len(measured) == (seconds is not None), "once for a machine"
    if device == "cpu":
        fabric, precision = runtime.processor(device, "auto")
        assert precision == wanted
        with fabric.autocast():
            assert torch.is_autocast_enabled("cpu") == (wanted == "bf16")


def test_measuring_steps_leaves_no_trace():
    torch.manual_seed(0)
    wanted = torch.rand(1)
    torch.manual_seed(0)
    bf16, fp32 = runtime._time_steps(tries=1)
    assert bf16 > 0
    assert fp32 > 0
    assert torch.equal(torch.rand(1), wanted)


def test_compiled_networks_learn_the_same(monkeypatch):
    plain = run(Gan(ToyConfig()), 4)
    compile = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda network: compile(network, backend="aot_eager"))
    family = Gan(ToyConfig())
    family.more = nn.ModuleDict({"inner": nn.ModuleList([nn.Identity()])})
    compiled = run(family, 4, compile=True)
    networks = [family.generator, family.discriminator, family.more["inner"][0]]
    assert all(network._compiled_call_impl is not None for network in networks)
    for one, other in zip(plain, compiled, strict=True):
        assert one.totals == pytest.approx(other.totals, rel=1e-4)
    assert list(family.state_dict()) == list(Gan(ToyConfig()).state_dict())


class Even(Auto):
    """No noise, no batch statistics: the same for two halves of a batch as for the whole."""

    def losses(self, faces):
        code = self.encoder(faces.images.flatten(1))
        return {"rec": (self.decode({"code": code}) - faces.images).square().mean(), "noise": code.square().mean()}


def _one_of_two(rank: int, port: int, folder: Path) -> None:
    """A process as torchrun starts it."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",
    }
    family = Even(ToyConfig())
    if rank:
        family.decoder.weight.data.zero_()  # the first process's beginning counts
    steps = run(family, 9, folder)
    losses = [step.losses["auto"]["rec"] for step in steps]
    torch.save({"weights": family.state_dict(), "losses": losses}, folder / f"rank{rank}.pt")


def test_two_processes_do_what_one_does(processes, tmp_path):
    port = find_port()
    (tmp_path / "two").mkdir()
    children = [processes.Process(target=_one_of_two, args=(rank, port, tmp_path / "two")) for rank in (0, 1)]
    for child in children:
        child.start()
    for child in children:
        child.join(240)
        child.kill()  # one whose partner failed waits for half an hour
    assert [child.exitcode for child in children] == [0, 0]
    steps = run(Even(ToyConfig()), 9, tmp_path / "one")
    ranks = [torch.load(tmp_path / f"two/rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert ranks[0]["losses"] == ranks[1]["losses"]
    assert ranks[0]["losses"] == pytest.approx([step.losses["auto"]["rec"] for step in steps], rel=1e-5)
    for name, value in ranks[0]["weights"].items():
        assert torch.equal(value, ranks[1]["weights"][name]), name
        torch.testing.assert_close(value, checkpoint(tmp_path / "one")["weights"][name], rtol=1e-4, atol=1e-6)
    assert checkpoint(tmp_path / "two")["step"] == 9
    assert len(log(tmp_path / "two")) == 9
