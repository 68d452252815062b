"""The command line: every command does its work, and every expected error is one sentence without a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from typer.testing import CliRunner

from swaplib import data, families, generators, judges, provenance, synthetic, weights
from swaplib.cli import app
from swaplib.faces import to_uint8
from swaplib.judges.perceptual import AlexNetDistance
from swaplib.latent import reenactment
from swaplib.video import files
from swaplib.weights import published
from swaplib.weights.published_names import to_rosinality
from swaplib.workbook import inventory

COMMANDS = (
    "swap",
    "faces",
    "prepare",
    "render",
    "train",
    "evaluate",
    "run",
    "study",
    "release",
    "info",
    "import",
    "lab",
)


def call(*arguments) -> tuple[int, str, str]:
    """Exit code, stdout and stderr. An unexpected exception is raised here."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def assert_sentence(result: tuple[int, str, str], *parts: str) -> None:
    code, _, stderr = result
    assert code == 1
    assert stderr.startswith("swaplib: ")
    assert len(stderr.strip().splitlines()) == 1
    for part in parts:
        assert part in stderr


@pytest.fixture
def photo(tmp_path):
    """The astronaut photograph that ships inside scikit-image."""
    from skimage.data import astronaut

    path = tmp_path / "astronaut.png"
    Image.fromarray(astronaut()[:300, 60:360]).save(path)
    return path


def test_help_lists_the_commands_without_loading_torch():
    code = "import sys, swaplib.cli; sys.exit('torch' in sys.modules or 'papermill' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    code, stdout, _ = call("--help")
    assert code == 0
    assert all(name in stdout for name in COMMANDS)


def test_version():
    assert call("--version")[1].startswith("swaplib 0.")


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["swap", "a.jpg"], ["run", "--set", "seed"], ["render", "x", "--count", "0"]]
)
def test_wrong_usage_exits_with_2(arguments):
    assert call(*arguments)[0] == 2


@pytest.fixture(scope="module")
def found() -> dict:
    """What `swaplib info --json` says."""
    code, stdout, _ = call("info", "--json")
    assert code == 0
    return json.loads(stdout)


def test_import_lists_the_published_files():
    code, stdout, _ = call("import", "--list")
    assert code == 0
    for row in published.OFFICIAL:
        assert row.load in stdout
    assert call("import")[0] == 2
    assert_sentence(call("import", "ffhq.pkl"), "there is no file ffhq.pkl")


def test_a_device_that_is_not_here_gets_a_sentence(photo, tmp_path):
    swap = ("swap", photo, photo, "-o", tmp_path / "out.png", "--device")
    assert_sentence(call(*swap, "tpu"), "unknown device 'tpu': choose cpu or cuda")
    if not torch.cuda.is_available():
        assert_sentence(call(*swap, "cuda"), "there is no CUDA device here")
        assert_sentence(call("evaluate", "--device", "cuda", "--pairs", "2"), "there is no CUDA device here")


def test_info_is_one_json_object(found):
    assert set(found) == {"families", "generators", "judges", "networks"}
    assert tuple(found["families"]) == families.NAMES
    for name, facts in found["families"].items():
        family = families.build(name)
        assert facts["parts"] == [part.name for part in family.parts]
        assert facts["parameters"]["demo"] == sum(parameter.numel() for parameter in family.parameters())
        assert set(facts) == {"parts", "parameters", "networks", "weights"}
        assert set(facts["parameters"]) == {"smoke", "demo", "paper"}


def test_info_knows_judges_and_the_papers_networks(found):
    assert tuple(found["judges"]) == judges.NAMES
    assert found["judges"]["parser"]["parameters"]["paper"] == 1_944_355
    assert found["judges"]["identity"]["parameters"]["paper"] == 26_134_080
    generator = found["generators"]["stylegan2"]["networks"]
    assert (generator["network"], generator["discriminator"]) == (30_370_060, 29_012_513)
    assert found["families"]["latent_swap"]["networks"]["mixer"] == 56_687_616
    smooth = found["families"]["smooth_swap"]["networks"]
    assert smooth["projection"] + smooth["network"] == 16_464_405
    assert smooth["discriminator"] == 28_864_129
    guided = found["families"]["mask_guided"]["networks"]
    names = ("decoders", "image_decoders", "generator", "discriminators")
    assert [guided[name] for name in names] == [39_098_880, 64_623_695, 12_111_811, 2 * 5_555_586]
    regional = found["families"]["e4s"]["networks"]
    assert [regional[name] for name in ("encoder", "mlps", "generator")] == [85_051_008, 48_844_800, 30_370_060]
    networks = {
        "stylegan2_generator_1024": 30_370_060,
        "stylegan2_discriminator_1024": 29_012_513,
        "latent_mixers_1024": 56_687_616,
        "smooth_swap_trainable": 16_464_405,
        "e4s_trainable": 161_762_847,
        "psp_encoder": 267_136_704,
        "e4e_encoder": 267_136_704,
        "ir_se50": 43_797_696,
        "latentswap_embedder": 30_330_432,
        "bisenet": 13_300_416,
        "helen": 29_260_427,
        "facevid2vid": 173_183_061,
    }
    assert found["networks"].items() >= networks.items()


def test_photographs_are_swapped_by_weights_that_know_them(photo, tmp_path, monkeypatch):
    asked = []

    def load(name, preset, **options):
        asked.append(preset)
        return families.build(name, "smoke").eval()

    monkeypatch.setattr(families, "load", load)
    for number, family in enumerate(("rsgan", "landmarks")):
        assert call("swap", photo, photo, "-o", tmp_path / f"{number}.png", "--family", family)[0] == 0
    assert call("swap", photo, photo, "-o", tmp_path / "2.png", "--family", "rsgan", "--preset", "smoke")[0] == 0
    assert asked == ["photo", "demo", "smoke"]


def test_info_tells_the_released_weights(found):
    assert found["families"]["landmarks"]["weights"] is None
    told = found["families"]["rsgan"]["weights"]
    file = weights.FOLDER / told["file"]
    assert told["bytes"] == file.stat().st_size
    assert (weights.FOLDER / told["card"]).exists()
    assert told["resolution"] == families.load("rsgan").config.size


def test_info_in_words_names_everything(found, monkeypatch):
    monkeypatch.setattr(inventory, "describe", lambda: found)
    words = call("info")[1]
    assert all(name in words for kind in found.values() for name in kind)
    assert "30,370,060" in words


def test_swap_saves_a_picture_marked_as_synthetic(photo, tmp_path):
    out = tmp_path / "out.png"
    code, stdout, stderr = call("swap", photo, photo, "-o", out, "--family", "landmarks")
    assert (code, stderr) == (0, "")
    assert str(out) in stdout
    with Image.open(out) as saved, Image.open(photo) as before:
        assert saved.size == before.size
        assert "compositeSynthetic" in saved.text["XML:com.adobe.xmp"]
        assert "landmarks" in saved.text["Description"]
        # A face swapped with itself: the photograph stays nearly as it was.
        assert np.abs(np.asarray(saved, float) - np.asarray(before.convert("RGB"), float)).mean() < 3


def test_swap_by_a_learned_family_with_other_weights_stitched(photo, tmp_path):
    file = weights.find_released("rsgan", "smoke")
    shots = {}
    for name, options in (("plain", ()), ("stitched", ("--stitch",))):
        shots[name] = tmp_path / f"{name}.png"
        result = call("swap", photo, photo, "-o", shots[name], "--family", "rsgan", "--weights", file, *options)
        assert result[::2] == (0, "")
    plain, stitched, before = (np.asarray(Image.open(p).convert("RGB"), float) for p in (*shots.values(), photo))
    assert (np.abs(plain - before) > 3).mean() > 1.2 * (np.abs(stitched - before) > 3).mean() > 0
    with Image.open(shots["plain"]) as saved:
        assert "trainedAlgorithmicMedia" in saved.text["XML:com.adobe.xmp"]
    assert_sentence(call("swap", photo, photo, "-o", tmp_path / "x.png", "--weights", file), "not of landmarks")


def test_swap_takes_amounts_and_further_photographs(photo, tmp_path):
    before = np.asarray(Image.open(photo).convert("RGB"))
    blue = tmp_path / "blue.png"
    Image.fromarray(before[..., ::-1]).save(blue)
    off = {}
    for name, options in {
        "nothing": ("--amount", 0),
        "half": ("--amount", 0.5),
        "mean": ("--also", photo),
        "all": (),
    }.items():
        code, _, stderr = call("swap", blue, photo, "-o", tmp_path / f"{name}.png", *options)
        assert (code, stderr) == (0, "")
        off[name] = np.abs(np.asarray(Image.open(tmp_path / f"{name}.png"), float) - before).mean()
    assert off["nothing"] < 1
    assert off["nothing"] < 0.5 * off["half"] < 0.5 * off["all"]
    assert off["mean"] <= off["all"] + 0.1
    for amount in ("much", "2", "nan", "texture=-1"):
        assert_sentence(call("swap", photo, photo, "-o", tmp_path / "x.png", "--amount", amount), "0 to 1")
    assert_sentence(call("swap", photo, photo, "-o", tmp_path / "x.png", "--amount", "ear=1"), "'ear'", "texture")
    assert_sentence(call("swap", photo, photo, "-o", tmp_path / "x.png", "--tune", 3), "no film")
    assert_sentence(call("swap", photo, photo, "-o", tmp_path / "x.png", "--parser", photo), "looks at no regions")
    assert_sentence(call("swap", photo, photo, "-o", tmp_path / "x.png", "--kind", "oval"), "unknown alignment 'oval'")


def test_e4s_is_driven_and_tuned_as_its_paper_does(photo, tmp_path, monkeypatch):
    driven, smoke = [], ("--family", "e4s", "--preset", "smoke")
    drive = reenactment.Landmarks.drive
    monkeypatch.setattr(reenactment.Landmarks, "drive", lambda *pair: driven.append(1) or drive(*pair))
    clip = synthetic.render_clip(2.0, 0, 3, size=128, fps=2, jobs=1)
    files.write(tmp_path / "target.mp4", to_uint8(clip.images), 2)
    shots = {}
    for name, options in {"plain": ("--drive", "identity"), "driven": (), "tuned": ("--tune", 2)}.items():
        out, before = tmp_path / f"{name}.mp4", len(driven)
        code, _, stderr = call("swap", photo, tmp_path / "target.mp4", "-o", out, *smoke, *options)
        assert code == 0, stderr
        assert (len(driven) > before) == (name != "plain")
        shots[name] = np.stack([*files.frames(out)])
    assert all(not np.array_equal(shots[one], shots[other]) for one, other in combinations(shots, 2))
    out = tmp_path / "x.mp4"
    options = (*smoke, "--tune", 2, "--drive", "identity")
    assert_sentence(call("swap", photo, tmp_path / "target.mp4", "-o", out, *options), "drive it")
    wrong = tmp_path / "judge.pth"
    torch.save(judges.PUBLISHED.kind("helen")().network.state_dict(), wrong)
    assert_sentence(call("swap", photo, photo, "-o", tmp_path / "x.png", *smoke, "--parser", wrong), "judge.pth")


def test_swap_takes_videos(photo, tmp_path):
    frames = [np.asarray(Image.open(photo).convert("RGB"))] * 2
    files.write(tmp_path / "target.mp4", frames, 10)
    code, stdout, stderr = call("swap", photo, tmp_path / "target.mp4", "-o", tmp_path / "out.mp4")
    assert code == 0, stderr
    assert "2 of 2 frames show the face that was swapped" in stdout
    assert "out.mp4: marked as synthetic" in stdout
    assert "compositeSynthetic" in files.read_mark(tmp_path / "out.mp4")
    assert files.info(tmp_path / "out.mp4").count == 2
    assert_sentence(call("swap", photo, tmp_path / "target.mp4", "-o", tmp_path / "out.png"), "out.png", ".mp4")
    assert_sentence(call("swap", photo, tmp_path / "lost.mp4", "-o", tmp_path / "x.mp4"), "lost.mp4")
    assert_sentence(call("swap", photo, photo, "-o", tmp_path / "x.mp4"), "x.mp4", ".png")
    (tmp_path / "words.mp4").write_text("no video")
    assert_sentence(call("swap", photo, tmp_path / "words.mp4", "-o", tmp_path / "x.mp4"), "words.mp4")


def test_faces_shows_who_is_there_and_swap_takes_their_numbers(photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    single = np.asarray(Image.open(photo).convert("RGB"))
    pair = np.concatenate([single, single[:, ::-1]], 1)
    Image.fromarray(pair).save("pair.png")
    Image.fromarray(single[..., ::-1]).save("blue.png")
    files.write("pair.mp4", [pair] * 4, 10)
    code, stdout, stderr = call("faces", "pair.png")
    assert code == 0, stderr
    lines = stdout.splitlines()
    assert [line[0] for line in lines[:2]] == ["0", "1"]
    assert lines[-1] == "thumbnails: pair_faces.png"
    assert Image.open("pair_faces.png").size[1] == 2 * 116
    code, stdout, stderr = call("faces", "pair.mp4", "-o", "film.png")
    assert code == 0, stderr
    assert "1  seen for 0.4 s: 0:00.0–0:00.4;" in stdout
    changed = {}
    for who in ("1", "all"):
        for name in ("pair.png", "pair.mp4"):
            out = f"{who}_{name}"
            code, stdout, stderr = call("swap", "blue.png", name, "-o", out, "--face", who)
            assert code == 0, stderr
            before, after = (
                next(files.frames(path)) if name.endswith("mp4") else np.asarray(Image.open(path).convert("RGB"))
                for path in (name, out)
            )
            change = np.abs(before.astype(int) - after).max(-1) > 25
            changed[out] = tuple(bool(half.sum() > 60) for half in (change[:, :300], change[:, 300:]))
    for name in ("pair.png", "pair.mp4"):
        assert sum(changed[f"1_{name}"]) == 1
        assert changed[f"all_{name}"] == (True, True)
    code, _, stderr = call("swap", photo, "pair.mp4", "-o", "x.mp4", "--face", "7")
    assert code == 1
    assert "there is no person number 7 in the film: 2 found" in stderr.splitlines()[-1]
    assert_sentence(call("swap", photo, "pair.png", "-o", "x.png", "--face", "lost.jpg"), "lost.jpg", "--face")
    assert_sentence(call("swap", photo, "pair.png", "-o", "x.png", "--other", photo), "--faces all")
    assert_sentence(call("faces", "pair.mp4", "-o", "x.txt"), "x.txt", ".png")
    assert_sentence(call("faces", "https://example.org/a.mp4"), "https://example.org/a.mp4 is an address")


def test_swap_takes_folders_and_goes_on_with_them(photo, tmp_path):
    folder, out = tmp_path / "targets", tmp_path / "out"
    folder.mkdir()
    whole = Image.open(photo).convert("RGB")
    whole.save(folder / "a.jpg")
    whole.save(folder / "b.bmp")
    first, *rest = [whole] * 3
    first.save(folder / "c.gif", save_all=True, append_images=[image.rotate(1) for image in rest], duration=100)
    Image.new("RGB", (99, 99)).save(folder / "d.png")
    (folder / "notes.txt").write_text("no picture")
    code, stdout, stderr = call("swap", photo, folder, "-o", out)
    assert code == 1
    assert "d.png: target: no face found" in stderr
    assert "3 of 4 swapped" in stdout
    assert sorted(path.name for path in out.iterdir()) == ["a.jpg", "b.png", "c.gif"]
    then = (out / "a.jpg").stat().st_mtime_ns
    (folder / "d.png").unlink()
    (out / "c.gif").unlink()
    code, stdout, stderr = call("swap", photo, folder, "-o", out)
    assert code == 0, stderr
    assert "2 were there already" in stdout
    assert (out / "a.jpg").stat().st_mtime_ns == then
    assert files.info(out / "c.gif").count == 2  # the same frame twice is one


def test_swap_answers_bad_input_with_a_sentence(photo, tmp_path):
    empty = tmp_path / "wall.png"
    Image.new("RGB", (200, 200), "grey").save(empty)
    out = tmp_path / "out.png"
    assert_sentence(call("swap", empty, photo, "-o", out), "wall.png", "face")
    assert_sentence(call("swap", tmp_path / "lost.jpg", photo, "-o", out), "lost.jpg")
    assert_sentence(call("swap", photo, photo, "-o", out, "--family", "magic"), "magic", "landmarks")
    assert_sentence(call("swap", photo, photo, "-o", out, "--preset", "huge"), "huge", "demo")
    assert_sentence(call("swap", photo, photo, "-o", tmp_path / "out.bmp"), "out.bmp", ".png")
    assert not out.exists()


def test_swap_never_overwrites_its_photographs(photo):
    before = photo.read_bytes()
    assert_sentence(call("swap", photo, photo, "-o", photo), "choose another name")
    assert photo.read_bytes() == before


def test_render_then_open(tmp_path):
    code, stdout, _ = call("render", tmp_path / "faces", "--count", 3, "--size", 64, "--jobs", 1)
    assert code == 0
    assert "3 faces" in stdout
    from swaplib import data

    dataset = data.open(tmp_path / "faces")
    assert len(dataset) == 3
    assert dataset[0].size == (64, 64)


def test_prepare_reports_what_it_took_and_skipped(photo, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    photo.rename(folder / "astronaut.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    code, stdout, _ = call("prepare", folder, tmp_path / "out", "--size", 64, "--jobs", 1)
    assert code == 0
    assert "1 skipped" in stdout
    assert "broken.jpg" in (tmp_path / "out" / "skipped.csv").read_text()
    from swaplib import data

    assert len(data.open(tmp_path / "out")) == 1
    assert_sentence(call("prepare", tmp_path / "nowhere", tmp_path / "out2"), "nowhere")


def test_evaluate_prints_and_saves_the_table(tmp_path):
    out = tmp_path / "table.csv"
    code, stdout, _ = call(
        "evaluate", "--families", "target,landmarks", "--pairs", 4, "--size", 64, "-o", out, "--jobs", 1
    )
    assert code == 0
    table = pd.read_csv(out, index_col=0)
    assert {"target", "landmarks"} <= set(table.index)
    assert (table["pairs"] == 4).all()
    assert "| landmarks |" in stdout
    assert "| landmarks |" in (tmp_path / "table.md").read_text()
    assert_sentence(call("evaluate", "--families", "magic", "-o", out), "magic")


def test_evaluate_measures_with_judges_of_ones_own(tmp_path):
    network = AlexNetDistance()
    tensors = {f"features.{name}": value for name, value in network.features.state_dict().items()}
    torch.save(tensors, tmp_path / "alexnet.pth")
    out = tmp_path / "table.csv"
    common = ("evaluate", "--families", "target", "--pairs", 2, "--size", 64, "-o", out, "--jobs", 1)
    code, stdout, _ = call(*common, "--judge", f"perceptual={tmp_path / 'alexnet.pth'}")
    assert code == 0
    assert "perceptual lpips ↓" in stdout
    assert pd.read_csv(out, index_col=0).loc["true swap", "perceptual:lpips"] == 0
    assert "- perceptual lpips: lpips's distance to the true swap" in out.with_suffix(".md").read_text()
    assert_sentence(call(*common, "--judge", "beauty=x.pth"), "beauty", "identity, parser, perceptual")
    assert_sentence(call(*common, "--judge", f"identity={tmp_path / 'alexnet.pth'}"), "give it as perceptual")
    assert call(*common, "--judge", "alexnet.pth")[0] == 2


def test_evaluate_on_photographs_leaves_the_truth_out(tmp_path):
    folder = data.render(tmp_path / "faces", 4, size=64, jobs=1, progress=False)
    out = tmp_path / "table.csv"
    common = ("evaluate", "--families", "target", "--pairs", 2, "--size", 64, "-o", out, "--jobs", 1)
    code, stdout, _ = call(*common, "--data", folder)
    assert code == 0
    assert "true swap" not in stdout
    assert "PSNR" not in stdout
    assert pd.read_csv(out, index_col=0).index.tolist() == ["source", "target"]
    assert_sentence(call(*common, "--data", tmp_path / "none"), "there is no folder")


def test_run_refuses_a_wrong_parameter():
    assert_sentence(call("run", "--set", "sede=1"), "sede", "seed")
    assert_sentence(call("run", "99"), "99", "00_start")
    assert_sentence(call("run", "--preset", "huge"), "huge", "smoke")


def test_study_runs_a_module_of_the_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "checkout", lambda: tmp_path)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "toy.py").write_text(
        "def main(word: str, count: int = 1) -> None:\n"
        '    """Say a word."""\n'
        "    assert count, 'a bug'\n"
        "    if count < 0:\n"
        "        raise ValueError('a word is not said less than never: choose another count')\n"
        "    print(' '.join([word] * count))\n"
    )
    assert call("study", "toy", "hello", "--count", 2) == (0, "hello hello\n", "")
    code, stdout, _ = call("study", "toy", "--help")
    assert code == 0
    assert "swaplib study toy" in stdout
    assert "Say a word." in stdout
    assert call("study", "--help")[0] == 0
    assert call("study", "toy")[0] == 2
    assert_sentence(call("study", "toy", "hello", "--count", -1), "choose another count")
    assert_sentence(call("study", "game"), "game", "choose one of toy")
    monkeypatch.setattr(provenance, "checkout", lambda: None)
    assert_sentence(call("study", "toy", "hello"), "studies are part of the checkout")


def test_ctrl_c_is_quiet(monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(families, "build", interrupt)
    assert call("info") == (130, "", "swaplib: interrupted\n")


def test_bugs_keep_their_traceback(monkeypatch):
    monkeypatch.setattr(families, "build", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        call("info")


def test_debugging_shows_the_traceback_of_expected_errors(monkeypatch, photo, tmp_path):
    monkeypatch.setenv("SWAPLIB_DEBUG", "1")
    with pytest.raises(ValueError, match="magic"):
        call("swap", photo, photo, "-o", tmp_path / "o.png", "--family", "magic")


# ---------------------------------------------------------------------------------------------- JupyterLab


def test_lab_passes_options_on_and_has_the_checkout_for_its_root(monkeypatch):
    started = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: started.append(arguments))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert call("lab", "--port", "9000")[0] == 0
    (arguments,) = started
    assert arguments[1:3] == ["-m", "jupyterlab"]
    assert f"--ServerApp.root_dir={provenance.checkout()}" in arguments
    assert arguments[-2:] == ["--port", "9000"]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert_sentence(call("lab"), "doesn't run as root", "--allow-root")
    assert call("lab", "--allow-root")[0] == 0


def test_import_on_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    source = tmp_path / "source.pt"
    torch.save({"g_ema": to_rosinality(generators.build("stylegan2", "smoke").network.state_dict())[0]}, source)
    monkeypatch.setattr("swaplib.weights.files.save_file", full)
    assert_sentence(call("import", source, "-o", tmp_path / "out"), "stylegan2_official.safetensors", "make room")
    assert list((tmp_path / "out").iterdir()) == []
