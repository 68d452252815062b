"""The whole road: files of the published layouts, imported, swap photographs and run lessons on them."""

from __future__ import annotations

from pathlib import Path

import nbformat
import numpy as np
import official
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from swaplib import data, families, generators, judges, synthetic, weights
from swaplib.cli import app
from swaplib.faces import to_uint8
from swaplib.networks import psp
from swaplib.weights import OFFICIAL
from swaplib.workbook import importing, material, preflight, runner


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """Twelve pictures as a researcher has them, and prepared."""
    place = tmp_path_factory.mktemp("photographs")
    (place / "raw").mkdir()
    for number, picture in enumerate(to_uint8(synthetic.render_faces(14, seed=5, size=128).images)):
        Image.fromarray(picture).save(place / "raw" / f"{number:02}.png")
    report = data.prepare(place / "raw", place / "faces", kind="ffhq", size=64, jobs=1, limit=14, progress=False)
    assert report.faces >= 12
    return place


@pytest.fixture
def imported(tmp_path, monkeypatch) -> Path:
    """Weights of all kinds that the lessons take, imported from small files of the published layouts."""
    monkeypatch.setenv("SWAPLIB_WEIGHTS", str(tmp_path / "weights"))
    generator = generators.load("stylegan2", "smoke").network
    files = [
        official.write_encoder(tmp_path / "e4e_ffhq_encode.pt", psp.Encoder4Editing(32, 16, 16), generator),
        official.write_latent_swap(tmp_path / "epoch=39-step=200000.ckpt", families.load("latent_swap", "smoke").mixer),
        official.write_e4s(tmp_path / "iteration_300000.pt", families.load("e4s", "smoke")),
    ]
    names = [one.name for file in files for one in importing.import_file(file)]
    assert names == ["e4e", "stylegan2", "latent_swap", "e4s"]
    return tmp_path


def texts(path: Path) -> str:
    return "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)


@pytest.mark.slow
def test_from_official_files_and_photographs_to_figures(imported, photographs):
    raw, faces = photographs / "raw", photographs / "faces"
    order = ["swap", str(raw / "00.png"), str(raw / "01.png"), "-o", str(imported / "swap.png"), "--family", "e4s"]
    result = CliRunner().invoke(app, [*order, "--preset", OFFICIAL])
    assert result.exit_code == 0, result.output
    order = ["run", "25", "32", "50", "--preset", OFFICIAL, "--data", str(faces), "--dry-run"]
    result = CliRunner().invoke(app, order)
    assert result.exit_code == 0, result.output
    assert f"preset official on cpu, {len(data.open(faces))} photographs of faces" in result.stdout
    assert "missing" not in result.stdout
    small = {"pairs": 4, "size": 64, "pictures": 2, "steps": 4, "tuning_steps": 2}
    report = runner.run(
        ["25", "32", "50"], OFFICIAL, {"data": str(faces), **small}, out=imported / "out", progress=False, jobs=1
    )
    assert set(report.seconds) == {"25_e4s", "32_inversion", "50_compare"}
    made = {str(path.relative_to(report.figures)) for path in report.figures.rglob("*.*")}
    for name in (
        "e4s/fig1_swaps.",
        "e4s/fig13_lambda.",
        "inversion/fig8_wild.",
        "compare/swaps.",
        "compare/table_4.csv",
    ):
        assert any(path.startswith(name) for path in made), name
    assert not any(path.startswith(("e4s/fig5_failures", "compare/damage")) for path in made)
    table = (report.figures / "compare" / "table_4.csv").read_text().splitlines()
    assert {line.split(",")[0] for line in table[1:]} >= {"target", "landmarks", "e4s", "latent_swap"}
    for name in report.seconds:
        source = texts(imported / "out" / "notebooks" / f"{name}.ipynb")
        assert "Left out here: this is about rendered faces" in source
        assert "claims.record(" not in source


def test_places_are_checked_before_anything_runs(photographs, tmp_path):
    books = runner.choose(["25"])
    for values, words in (
        ({"data": str(tmp_path / "nowhere")}, "there is no folder .*nowhere"),
        ({"data": str(photographs / "raw")}, "raw"),
        ({"weights": str(tmp_path / "nothing.safetensors")}, "there is no file .*nothing"),
        ({"weights": str(photographs / "raw" / "00.png")}, r"00\.png holds no weights of swaplib's: .* swaplib import"),
        ({"device": "tpu"}, "unknown device 'tpu': choose cpu or cuda"),
    ):
        with pytest.raises(runner.WorkbookError, match=words):
            runner.settings(books, "demo", values)
    file = str(weights.find_released("e4s", "smoke"))
    takes = runner.plan_run(["25"], OFFICIAL, {"weights": file})
    assert "e4s" not in [one.model for one in takes.missing]
    plan = runner.settings(books, "demo", {"data": str(photographs / "faces")})
    assert plan["25_e4s"]["data"] == str((photographs / "faces").resolve())


ROAD = ("20", "21", "22", "23", "24", "25", "30", "31", "60")
"""Lessons that take photographs, a file of weights and a device."""


@pytest.mark.slow
def test_mixers_and_directions_walk_the_road(imported, photographs):
    values = {"data": str(photographs / "faces"), "size": 64, "pairs": 2, "count": 24}
    report = runner.run(["24", "31"], OFFICIAL, values, out=imported / "out", progress=False, jobs=1)
    made = {str(path.relative_to(report.figures)).split(".")[0] for path in report.figures.rglob("*.*")}
    for name in ("fig1_swaps", "groups", "pictures", "table_photographs_2"):
        assert f"latent_swap/{name}" in made
    for name in ("interfacegan", "ganspace", "sefa", "edits", "swapped"):
        assert f"directions_latent_swap/{name}" in made
    assert not any(name.endswith(("fig6_lambda", "training", "slider")) for name in made)
    cells = nbformat.read(imported / "out" / "notebooks" / "24_latent_swap.ipynb", as_version=4).cells
    shown = "\n".join(str(output) for cell in cells if cell.cell_type == "code" for output in cell.outputs)
    assert "left out, without weights at the preset official: rsgan" in shown
    assert "Left out, since photographs have no true swap: PSNR face, SSIM face." in shown
    assert "true swap" not in (report.figures / "latent_swap" / "table_photographs_2.csv").read_text()


def test_every_lesson_of_the_road_says_what_it_lacks_and_takes(photographs, tmp_path, monkeypatch):
    monkeypatch.setenv("SWAPLIB_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(preflight, "measure_rate", lambda device: 100.0)
    faces = str(photographs / "faces")
    for book in runner.choose(ROAD):
        known = runner.parameters(book)
        assert {"weights", "data", "device", "size"} <= known.keys(), book.stem
        assert book.stem in runner.load_preset(OFFICIAL), book.stem
        with pytest.raises(runner.WorkbookError, match=f"{book.stem}: there is no folder"):
            runner.settings([book], OFFICIAL, {"data": str(tmp_path / "nowhere")})
        with pytest.raises(runner.WorkbookError, match=f"{book.stem}: unknown device"):
            runner.settings([book], OFFICIAL, {"device": "tpu"})
    plan = runner.plan_run(ROAD, OFFICIAL, {"data": faces})
    why = {lesson.name[:2]: lesson.skipped for lesson in plan.lessons}
    assert set(why) == set(ROAD)
    assert why["20"] == "rsgan is missing: nobody publishes weights of rsgan, name yours by --set weights=FILE"
    assert why["22"].startswith("smooth_swap is missing: nobody publishes")
    assert why["24"] == "latent_swap is missing"
    file = str(weights.find_released("rsgan", "smoke"))
    plan = runner.plan_run(ROAD, OFFICIAL, {"data": faces, "weights": file})
    assert [lesson.name for lesson in plan.runs] == ["20_rsgan", "30_layers"]


def test_weights_go_to_the_lessons_that_load_their_model(photographs):
    file = str(weights.find_released("rsgan", "smoke"))
    plan = runner.settings(runner.choose(["20", "25", "30"]), "demo", {"weights": file})
    assert [stem for stem, values in plan.items() if values.get("weights")] == ["20_rsgan", "30_layers"]
    words = "25_e4s: .* holds weights of rsgan: name a file of e4s"
    with pytest.raises(runner.WorkbookError, match=words):
        runner.settings(runner.choose(["25"]), "demo", {"weights": file})


def test_material_is_of_photographs_where_a_folder_is_named(photographs, monkeypatch, capsys):
    faces = photographs / "faces"
    monkeypatch.setattr(material, "STEP", 2)
    parts = [*material.Pairs(3, 1, size=64, folder=faces)]
    assert [len(source) for source, _ in parts] == [2, 1]
    whole = material.draw_faces(6, 1, size=64, folder=faces)
    for k, one in enumerate((whole[:3], whole[3:])):
        assert torch.equal(torch.cat([both[k].images for both in parts]), one.images)
    assert material.true_swap(whole[:3], whole[3:]) == {}
    source, clip = material.draw_clip(1.0, 5, size=64, folder=faces)
    order = data.open(faces)
    last = int(np.argsort(order.metadata["source"].to_numpy(), kind="stable")[-1])
    assert torch.equal(source.images, order[[last]].images)
    assert len(clip) == 5
    assert material.label(whole).labels.shape == (6, 64, 64)
    panel = judges.Judges.released("smoke")
    assert material.find_scores(whole, "pose.yaw", panel).unique().numel() > 2
    with pytest.raises(ValueError, match="attributes"):
        material.find_scores(whole, "Smiling", panel)
    with pytest.raises(ValueError, match="factors"):
        material.find_scores(whole, "pose.yaw", judges.Judges())
    assert [*material.load_systems(("landmarks", "rsgan"), OFFICIAL)] == ["landmarks"]
    assert "left out, without weights at the preset official: rsgan" in capsys.readouterr().out


def test_material_of_rendered_faces_knows_the_truth():
    (pair,) = material.Pairs(1, 3, 5, size=64)
    rendered = synthetic.render_faces(2, 3, 5, size=64)
    assert torch.equal(pair[1].images, rendered[[1]].images)
    (truth,) = material.true_swap(*pair, 32).values()
    assert torch.equal(truth.images, synthetic.true_swap(rendered[[0]], rendered[[1]]).resize(32).images)
    known = material.find_scores(rendered, "pose.yaw", judges.Judges())
    assert torch.equal(known, synthetic.column(rendered.factors, "pose", "yaw"))


# ---------------------------------------------------------------------------------------------- memory


def test_the_preflight_states_the_memory_of_a_thousand_pairs(imported, photographs, monkeypatch):
    monkeypatch.setattr(preflight, "measure_rate", lambda device: 100.0)
    monkeypatch.setattr(preflight, "_scale", lambda name, preset: 1.0)  # as if the files were as large as the authors'
    plan = runner.plan_run(["25"], OFFICIAL, {"data": str(photographs / "faces"), "pairs": "1000"})
    assert plan.runs[0].gigabytes < 6
