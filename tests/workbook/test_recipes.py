"""recipes.py: stages follow each other, each beginning with what the one before has learned."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import drawn
import numpy as np
import pytest
import torch
from ports import find_port
from typer.testing import CliRunner

from swaplib import data, families, judges, weights
from swaplib.cli import app
from swaplib.families.rsgan import RSGAN, Config
from swaplib.networks import blocks
from swaplib.workbook import recipes

FACES = drawn.faces(8, 64, 0)
PLAIN = {"progress": False, "workers": 1, "precision": "fp32", "device": "cpu"}


@pytest.fixture(scope="module")
def config() -> Config:
    """A grown RSGAN that is small enough for a test."""
    return replace(Config.smoke(), size=32, grown=True, discriminators_every=1)


def test_stages_run_in_turn_and_end_with_the_config_itself(config, tmp_path):
    seen = [
        (stage.name, step.step) for stage, step in recipes.follow("rsgan", config, FACES, tmp_path, steps=10, **PLAIN)
    ]
    assert seen == [
        ("half", 1),
        ("half", 2),
        *[("alone", k) for k in range(1, 6)],
        *[("whole", k) for k in range(1, 4)],
    ]
    family, totals = recipes.load_result("rsgan", config, tmp_path)
    assert family.config == config
    assert not family.training
    assert (totals["steps"], totals["images"]) == (10, 40)
    table = recipes.read_log("rsgan", config, tmp_path)
    assert table.step.tolist() == list(range(1, 11))
    assert table.stage.unique().tolist() == ["half", "alone", "whole"]
    assert (table.seconds.diff().dropna() > 0).all()


def test_rendered_datasets_fit_the_model(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "render", lambda folder, count, **options: (folder, count, options))
    folder, count, options = recipes.render_dataset("identity", "demo", tmp_path, 8, "wild")
    assert (folder, count) == (tmp_path / "faces_wild_128_x4", 8)
    assert (options["size"], options["shots"], options["world"]) == (128, 4, "wild")
    folder, _, options = recipes.render_dataset("rsgan", "smoke", tmp_path, 8)
    assert (folder.name, options["size"], options["shots"]) == ("faces_calm_64", 64, 1)


def test_a_stopped_run_goes_on_to_the_same_end(config, tmp_path):
    whole = recipes.follow("rsgan", config, FACES, tmp_path / "whole", steps=6, **PLAIN)
    assert len(list(whole)) == 6
    for count, (_, _) in enumerate(recipes.follow("rsgan", config, FACES, tmp_path / "parts", steps=6, **PLAIN), 1):
        if count == 3:
            break
    rest = recipes.follow("rsgan", config, FACES, tmp_path / "parts", steps=6, resume=True, **PLAIN)
    assert len(list(rest)) == 3
    wanted, found = (
        recipes.load_result("rsgan", config, tmp_path / name)[0].state_dict() for name in ("whole", "parts")
    )
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_weights_that_cant_be_begun_with_are_told(tmp_path):
    config = judges.config("parser", "smoke")
    start = judges.build("parser", replace(config, width=8))
    with pytest.raises(ValueError, match=r"of a parser with width=8 \(here 4\), which this one can't begin with"):
        next(recipes.follow("parser", config, FACES, tmp_path, steps=2, start=start, **PLAIN))


def test_a_start_leaves_out_the_stages_of_smaller_pictures(config, tmp_path):
    start = families.build("rsgan", config, seed=7)
    seen = {stage.name: step for stage, step in recipes.follow(
        "rsgan", config, FACES, tmp_path, steps=8, start=start, **PLAIN
    )}  # fmt: skip
    assert {name: step.step for name, step in seen.items()} == {"alone": 5, "whole": 3}


def test_training_begins_with_the_stage_that_is_named(config, tmp_path):
    start = families.build("rsgan", config, seed=7)
    run = {"steps": 4, "start": start, **PLAIN}
    seen = [stage.name for stage, _ in recipes.follow("rsgan", config, FACES, tmp_path, stage="whole", **run)]
    assert seen == ["whole"] * 4
    assert recipes.load_result("rsgan", config, tmp_path)[1]["steps"] == 4
    with pytest.raises(ValueError, match="no stage 'last': choose one of half, alone, whole"):
        next(recipes.follow("rsgan", config, FACES, tmp_path / "other", stage="last", **run))


def test_growing_keeps_the_coarse_layers():
    small, large = (families.build("rsgan", stage.config, k) for k, stage in enumerate(RSGAN.stages(Config.demo())[:2]))
    large.init_from(small)
    encoder, coarse = large.encoders["face"], small.encoders["face"]
    assert torch.equal(encoder.head.weight, coarse.head.weight)
    assert torch.equal(encoder.body[-3].weight, coarse.body[-3].weight)
    assert torch.equal(large.composer.seed.weight, small.composer.seed.weight)
    assert torch.equal(large.composer.body[2].weight, small.composer.body[2].weight)
    assert torch.equal(large.classifier.head.weight, small.classifier.head.weight)
    again = families.build("rsgan", large.config, 9)
    again.init_from(large)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in large.state_dict().items())


@pytest.mark.parametrize("name", ["smooth_swap", "mask_guided"])
def test_a_family_keeps_its_own_teachers_when_it_takes_over_what_another_has_learned(name):
    """A better teacher would else be forgotten where training goes on from older weights."""
    mine, theirs = (families.build(name, "smoke", seed) for seed in (0, 1))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(1)
    mine.init_from(theirs)
    teachers = tuple(f"{part}." for part, module in mine.named_modules() if getattr(module, "frozen", False))
    assert teachers
    known = theirs.state_dict()
    for part, value in mine.state_dict().items():
        if value.is_floating_point() and not part.endswith(("running_mean", "running_var")):
            assert torch.equal(value, known[part]) != part.startswith(teachers), part


def test_adopting_a_network_of_other_widths_changes_only_what_fits():
    narrow, wide = blocks.Decoder(16, 5, 8, 32), blocks.Decoder(32, 5, 4, 16)  # 16, 8 and 16, 8, 4 channels
    before = {name: value.clone() for name, value in wide.state_dict().items()}
    blocks.copy_layers(wide, narrow)
    changed = {name for name, value in wide.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"seed.weight", "seed.bias", "body.2.weight", "body.2.bias"}


def test_a_look_shows_pictures_reconstructions_and_neighbours():
    family = families.build("rsgan", "smoke").eval()
    with torch.no_grad():
        images = family.preview(FACES)
        faces = FACES.resize(32)
        last = family.swap(faces[[6]], faces[[7]])
    assert images.shape == (3, 8, 3, 32, 32)
    assert torch.equal(images[0], faces.images)
    torch.testing.assert_close(images[2, 7:], last, atol=1e-5, rtol=0)


# ---------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return data.render(tmp_path_factory.mktemp("faces") / "calm", 24, size=64, jobs=1, progress=False)


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_train_saves_weights_that_load(dataset, tmp_path):
    arguments = ("train", "rsgan", "--preset", "smoke", "--data", dataset, "-o", tmp_path, "--steps")
    result = call(*arguments, 3)
    assert result.exit_code == 0, result.output
    file = tmp_path / "rsgan_smoke.safetensors"
    loaded = families.load("rsgan", file=file)
    assert loaded.config == Config.smoke()
    card = weights.read_card(file)
    assert (card["steps"], card["images"]) == (3, 12)
    assert "faces of renderer 2.0, calm world" in card["data"]
    samples = list((tmp_path / "rsgan_smoke" / "1_whole" / "previews").glob("*.png"))
    assert len(samples) == 1
    assert call(*arguments, 4).exit_code == 1  # a run is there: it must be said to go on
    assert call(*arguments, 4, "--resume").exit_code == 0
    assert weights.read_card(file)["steps"] == 4
    new = tmp_path / "new"
    assert call(*arguments[:6], "-o", new, "--steps", 1, "--start", file).exit_code == 0
    assert (
        call(*arguments[:6], "-o", tmp_path / "more", "--steps", 1, "--start", tmp_path / "rsgan_smoke").exit_code == 0
    )
    kept, begun = loaded.state_dict(), families.load("rsgan", file=new / "rsgan_smoke.safetensors").state_dict()
    head = "encoders.face.head.weight"
    assert np.abs((kept[head] - begun[head]).numpy()).max() < 0.01  # one step away


def test_what_a_data_set_holds_out_is_checked(dataset, tmp_path):
    more = data.render(tmp_path / "more", 24, size=64, jobs=1, validation=0.5, progress=False)
    column = "discriminators/discriminator_global held out"
    for faces, told in ((more, True), (dataset, False)):  # of the other, fewer than a batch are held out
        out = tmp_path / faces.name
        call("train", "rsgan", "--preset", "smoke", "--data", faces, "-o", out, "--steps", 1)
        log = recipes.read_log("rsgan", "smoke", out / "rsgan_smoke")
        assert (column in log and np.isfinite(log[column].iloc[-1])) == told


def test_train_answers_with_a_sentence(dataset, tmp_path):
    for arguments, words in (
        ((), "name one family or judge, or say --all"),
        (("rsgan", "--all"), "name one family or judge, or say --all"),
        (("nobody",), "nobody is nothing that learns: choose one of identity"),
        (("landmarks", "--data", dataset), "landmarks is nothing that learns"),
        (("rsgan", "--data", tmp_path / "none"), "there is no folder"),
    ):
        result = call("train", *arguments, "-o", tmp_path, "--preset", "smoke", "--steps", 1)
        assert result.exit_code == 1
        assert words in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_everything_trains_in_turn_judges_first(tmp_path):
    """On nothing but what is rendered for it; a family learns from the judge that was trained just before."""
    result = call("train", "--all", "--preset", "smoke", "-o", tmp_path, "--steps", 1, "--faces", 16, "--jobs", 1)
    assert result.exit_code == 0, result.output
    made = {path.stem.removesuffix("_smoke") for path in tmp_path.glob("*.safetensors")}
    assert made == set(recipes.TRAINED)
    judge = judges.load("identity", file=tmp_path / "identity_smoke.safetensors")
    family = families.load("smooth_swap", file=tmp_path / "smooth_swap_smoke.safetensors")
    torch.testing.assert_close(family.embedder.trunk.conv1.weight, judge.trunk.conv1.weight)
    assert weights.find_released("identity", "smoke").parent == weights.FOLDER


@pytest.mark.parametrize("nodes", [1, 2])
def test_two_processes_train_together(nodes, dataset, tmp_path):
    """torchrun's processes share each batch, and one of them saves: two of one node, or one of each of two."""
    port = find_port()
    where = ["--nnodes", nodes, "--nproc_per_node", 2 // nodes, "--master_addr", "127.0.0.1", "--master_port", port]
    command = ["train", "rsgan", "--preset", "smoke", "--data", dataset, "-o", tmp_path, "--steps", 2]
    options = ["--device", "cpu", "--precision", "fp32"]
    started = []
    for node in range(nodes):
        launch = ["-m", "torch.distributed.run", "--node_rank", node, *where, "-m", "swaplib.cli", *command, *options]
        started.append(subprocess.Popen([sys.executable, *map(str, launch)], stderr=subprocess.PIPE, text=True))
    for process in started:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors[-2000:]
    card = weights.read_card(tmp_path / "rsgan_smoke.safetensors")
    assert (card["steps"], card["images"]) == (2, 8)
    families.load("rsgan", file=tmp_path / "rsgan_smoke.safetensors")


def test_datasets_are_mixed_evenly(dataset):
    whole = data.open(dataset)
    few = replace(whole.where(np.arange(len(whole)) < 5), metadata=whole.metadata[:5].assign(attributes=None))
    mixed = data.Mixed([whole, few])
    assert len(mixed) == 2 * len(whole)
    batch = mixed[[0, 1, 2, 3, 11, 13]]
    assert len(batch) == 6
    assert torch.equal(batch.images, torch.cat([whole[[0, 1]].images, whole[[0, 1, 0, 1]].images]))
    known = ~batch.attributes.isnan().all(1)
    assert known.tolist() == [True, True, False, False, False, False]
    assert batch.labels is not None
    assert batch.identity is None
    assert not batch.factors["pose"].isnan().any()
    assert data.Mixed([whole, batch], size=24)[[0, 1]].size == (24, 24)
    photographs = replace(few, metadata=few.metadata.drop(columns=[c for c in few.metadata if c.startswith("factor_")]))
    factors = data.Mixed([whole, photographs])[[0, 1]].factors
    assert factors["pose"].isnan().all(1).tolist() == factors["shape"].isnan().all(1).tolist() == [False, True]


def test_train_on_two_datasets_says_so(dataset, tmp_path):
    both = ("--data", dataset, "--data", dataset)
    result = call("train", "rsgan", "--preset", "smoke", *both, "-o", tmp_path, "--steps", 2)
    assert result.exit_code == 0, result.output
    assert "and as often" in weights.read_card(tmp_path / "rsgan_smoke.safetensors")["data"]
