"""The whole road: files of the published layouts, imported, swap photographs and run lessons on them."""

from __future__ import annotations

from pathlib import Path

import nbformat
import official
import pytest
from PIL import Image
from typer.testing import CliRunner

from swaplib import data, families, generators, synthetic, weights
from swaplib.cli import app
from swaplib.faces import to_uint8
from swaplib.networks import psp
from swaplib.weights import OFFICIAL
from swaplib.workbook import importing, runner


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
    """Weights of all kinds that the three lessons take, imported from small files of the published layouts."""
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
