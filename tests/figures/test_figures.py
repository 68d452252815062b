"""figures.py and provenance.py: what is drawn, what is saved, and what the files say about themselves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from swaplib import families, figures, weights
from swaplib.faces import CELEBAMASK_HQ, LABEL_COLOURS, Faces, from_uint8
from swaplib.figures import saving
from swaplib.provenance import checkout, clear_left_over, commit, replacing, sha256, versions


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SWAPLIB_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setattr(saving, "checkout", lambda: None)  # nothing is committed, where a test doesn't say so
    monkeypatch.delenv("SWAPLIB_RUN", raising=False)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    yield tmp_path / "figures"
    plt.close("all")


def pictures(count: int, size: int = 8) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def curve() -> plt.Figure:
    figure, ax = plt.subplots(figsize=(2, 1.5))
    ax.plot([1, 2, 4])
    return figure


# ---------------------------------------------------------------------------------------------- drawing


def test_trainings_are_drawn_stage_by_stage_with_what_was_held_out():
    log = pd.DataFrame({
        "run": [1, 1, 2, 2], "stage": ["half", "whole", "seeing", "whole"], "images": [8, 16, 24, 32],
        "a/loss": [4.0, 3.0, None, 2.0], "a/loss held out": [None, 3.5, None, 2.5], "a/rest": 1.0,
    })  # fmt: skip
    figure = figures.draw_training(log, {"a/loss": "1", "a/nowhere": "1"})
    (ax,) = figure.axes
    lines = [line for line in ax.lines if line.get_linestyle() == "-"]
    assert [line.get_ydata().tolist() for line in lines] == [[4.0], [3.0], [2.0], [3.5, 2.5]]
    assert lines[1].get_color() == lines[2].get_color() != lines[0].get_color()  # one stage, one colour
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["half", "whole", "held out"]
    assert figures.draw_training(log.drop(columns="run"), {"a/loss": "1"}).axes
    with pytest.raises(ValueError, match="none of the columns to draw"):
        figures.draw_training(log, {"a/nowhere": "1"})


def test_grid_places_pictures_row_by_row():
    images = pictures(6)
    figure = figures.grid(Faces(images), rows=["a", "b"], cols=["x", "y", "z"])
    shown = [ax.images[0].get_array() for ax in figure.axes]
    assert len(shown) == 6
    for k in range(6):
        np.testing.assert_allclose(from_uint8(shown[k].data), images[k], atol=1 / 127)
    assert [ax.get_title() for ax in figure.axes[:3]] == ["x", "y", "z"]
    assert [figure.axes[k].get_ylabel() for k in (0, 3)] == ["a", "b"]


def test_grid_of_columns_keeps_each_column_together():
    first, second = pictures(2), -pictures(2)
    figure = figures.grid({"first": first, "second": second})
    assert [ax.get_title() for ax in figure.axes[:2]] == ["first", "second"]
    np.testing.assert_allclose(from_uint8(figure.axes[3].images[0].get_array().data), second[1], atol=1 / 127)


def test_grid_of_rows_keeps_each_row_together():
    first, second = pictures(3), -pictures(3)
    figure = figures.grid({"first": first, "second": second}, as_rows=True)
    assert [figure.axes[k].get_ylabel() for k in (0, 3)] == ["first", "second"]
    np.testing.assert_allclose(from_uint8(figure.axes[4].images[0].get_array().data), second[1], atol=1 / 127)


def test_grid_shows_masks_in_grey_on_a_fixed_scale():
    figure = figures.grid([torch.zeros(4, 4, dtype=torch.bool), torch.full((4, 4), 0.5)])
    assert all(ax.images[0].get_clim() == (0, 1) for ax in figure.axes)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (pictures(5), {"rows": 2, "cols": 2}, "don't fit"),
        (pictures(5), {"rows": ["a", "b"], "cols": ["x"]}, "don't fit"),
        (torch.zeros(0, 3, 4, 4), {}, "empty"),
        ({"a": pictures(2), "b": pictures(3)}, {}, "equally many"),
        ([torch.zeros(4, 4, 3)], {}, "can't show"),
    ],
)
def test_grid_refuses_what_does_not_fit(images, options, message):
    with pytest.raises(ValueError, match=message):
        figures.grid(images, **options)


def test_pictures_are_as_wide_as_asked_whatever_is_written_around_them():
    titled = figures.grid(pictures(6), ["a", "b"], ["x\ny", "z", ""], size=0.96, title="all")
    crossed = figures.swap_grid(pictures(3), pictures(2), pictures(6).reshape(2, 3, 3, 8, 8), size=0.96)
    numbered = figures.grid(pictures(6), cols=3, size=0.96, titles=["one\nof six"] * 6)
    for figure in (titled, crossed, numbered):
        boxes = [ax.get_window_extent() for ax in figure.axes]
        assert [box.width / figure.dpi for box in boxes] == pytest.approx([0.96] * len(boxes))
        assert [box.height / figure.dpi for box in boxes] == pytest.approx([0.96] * len(boxes))
    figure.canvas.draw()
    above, title = numbered.axes[0].get_window_extent(), numbered.axes[3].title.get_window_extent()
    assert numbered.axes[3].get_window_extent().y1 < title.y0 < title.y1 < above.y0


def test_long_titles_are_broken_and_stay_beside_their_own_pictures():
    long = "grey hair without its age"
    figure = figures.grid(pictures(4), rows=[long, "b"], cols=["x", "into the photograph"], size=1.0)
    figure.canvas.draw()
    first, second = (figure.axes[k].yaxis.label.get_window_extent() for k in (0, 2))
    assert "\n" in figure.axes[0].get_ylabel()
    assert first.y0 > figure.axes[2].get_window_extent().y1 - 0.05 * figure.dpi
    assert first.y0 > second.y1
    assert figure.axes[1].get_title() == "into the\nphotograph"


def test_swap_grid_puts_target_rows_under_source_columns():
    swaps = pictures(6).reshape(2, 3, 3, 8, 8)
    figure = figures.swap_grid(pictures(3), pictures(2), swaps)
    assert len(figure.axes) == 3 * 4
    cell = figure.axes[1 * 4 + 3].images[0].get_array().data  # first target, third source
    np.testing.assert_allclose(from_uint8(cell), swaps[0, 2], atol=1 / 127)
    assert "source" in figure.axes[0].texts[0].get_text()
    with pytest.raises(ValueError, match="target first"):
        figures.swap_grid(pictures(2), pictures(3), swaps)


def test_label_colours_are_distinct_and_cover_every_class():
    assert LABEL_COLOURS.shape == (len(CELEBAMASK_HQ), 3)
    distances = np.linalg.norm(LABEL_COLOURS[:, None].astype(int) - LABEL_COLOURS[None], axis=-1)
    assert distances[~np.eye(len(CELEBAMASK_HQ), dtype=bool)].min() > 20
    labels = torch.tensor([[0, 18], [13, 1]], dtype=torch.uint8)
    assert (figures.colour_labels(labels)[0, 1] == LABEL_COLOURS[18]).all()
    with pytest.raises(ValueError, match="19 classes"):
        figures.colour_labels(np.array([[19]]))


def test_legend_names_only_the_classes_that_occur():
    figure = figures.grid(pictures(1))
    figures.label_legend(figure, torch.tensor([[0, 13]], dtype=torch.uint8))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["background", "hair"]


def test_landmarks_are_drawn_where_they_are():
    points = torch.rand(68, 2) * 8
    ax = figures.grid(pictures(1)).axes[0]
    figures.draw_landmarks(ax, points)
    drawn = np.concatenate([group.get_offsets() for group in ax.collections])
    np.testing.assert_allclose(drawn, points, atol=1e-6)
    with pytest.raises(ValueError, match="68"):
        figures.draw_landmarks(ax, points[None])


# ---------------------------------------------------------------------------------------------- saving


def test_a_figure_carries_its_provenance(folder, tmp_path, monkeypatch):
    weights = tmp_path / "demo.safetensors"
    weights.write_bytes(b"weights")
    origin = {"notebook": "20_rsgan", "parameters": {"preset": "demo", "seed": 3}}
    monkeypatch.setenv("SWAPLIB_RUN", json.dumps(origin))
    path = figures.save(
        curve(), "rsgan/fig4", paper="RSGAN Fig. 4", caption="Swaps.", checkpoints=[weights], seed=7, steps=2
    )
    entry = figures.manifest()["rsgan/fig4"]
    assert entry["files"] == ["rsgan/fig4.png", "rsgan/fig4.pdf"]
    assert (entry["notebook"], entry["paper"], entry["seed"]) == ("20_rsgan", "RSGAN Fig. 4", 7)
    assert entry["parameters"] == {"preset": "demo", "seed": 3, "steps": 2}
    assert entry["checkpoints"] == {"demo.safetensors": sha256(weights)}
    assert entry["versions"] == versions()
    assert entry["commit"] == commit()
    with Image.open(path) as image:
        assert "digitalsourcetype/algorithmicMedia" in image.text["XML:com.adobe.xmp"]
    kept = {key: value for key, value in entry.items() if key not in ("files", "commit", "versions")}
    assert figures.read_story(path) == {"name": "rsgan/fig4", **kept}
    assert b"rsgan/fig4" in (folder / "rsgan/fig4.pdf").read_bytes()


def test_raster_figures_are_jpeg_and_get_no_pdf(folder):
    path = figures.save(figures.grid(pictures(2, 32)), "faces", caption="Two.", source="generated", seed=3)
    assert figures.manifest()["faces"]["files"] == ["faces.jpg"]
    assert [file.name for file in folder.glob("faces.*")] == ["faces.jpg"]
    with Image.open(path) as image:
        assert image.format == "JPEG"
        assert all(part[1:3] == (1, 1) for part in image.layer), "colours at full resolution"
        assert b"digitalsourcetype/trainedAlgorithmicMedia" in image.info["xmp"]
        assert image.getxmp()  # well-formed
    story = figures.read_story(path)
    assert (story["name"], story["caption"], story["seed"]) == ("faces", "Two.", 3)
    assert not {"commit", "versions", "files"} & set(story)


def test_a_raster_figure_shows_its_pixels(folder, tmp_path):
    figure = figures.grid(pictures(2, 32))
    figure.savefig(tmp_path / "exact.png", bbox_inches="tight", facecolor="white")
    with Image.open(tmp_path / "exact.png") as exact, Image.open(figures.save(figure, "faces")) as saved:
        difference = np.asarray(exact.convert("RGB")).astype(int) - np.asarray(saved)
    assert np.abs(difference).mean() < 6


def test_a_chart_keeps_its_colours(folder, tmp_path):
    figure = figures.heat_map(pd.DataFrame(np.linspace(0, 1, 24).reshape(4, 6)))
    figure.savefig(tmp_path / "exact.png", bbox_inches="tight", facecolor="white")
    with Image.open(tmp_path / "exact.png") as exact, Image.open(figures.save(figure, "heat")) as saved:
        difference = np.asarray(exact.convert("RGB")).astype(int) - np.asarray(saved.convert("RGB"))
    assert np.abs(difference).mean() < 0.3


@pytest.mark.parametrize("cell", [0.7, 1.0])
def test_numbers_and_names_of_a_heat_map_stay_in_their_columns(cell):
    names = ["identity, smooth", "skin colour", "hair colour", "expression", "pixels"]
    values = pd.DataFrame(np.full((3, 5), 0.94), columns=names)
    figure = figures.heat_map(values, values / 50, cell=cell)
    figure.canvas.draw()
    ax = figure.axes[0]
    width = ax.get_window_extent().width / len(names)
    for text in (*ax.texts, *ax.get_xticklabels()):
        assert text.get_window_extent().width < width, text.get_text()


def test_each_picture_may_have_a_title_of_its_own():
    figure = figures.grid(pictures(5), cols=3, titles=["a", "b", "c", "d", "e"])
    assert [ax.get_title() for ax in figure.axes] == ["a", "b", "c", "d", "e", ""]


def test_a_figure_drawn_otherwise_leaves_no_old_file(folder):
    figures.save(curve(), "a/one")
    figures.save(figures.grid(pictures(2)), "a/one")
    assert [file.name for file in (folder / "a").iterdir()] == ["one.jpg"]


@pytest.mark.parametrize("make", [curve, lambda: figures.grid(pictures(2))], ids=["chart", "raster"])
def test_the_same_figure_is_the_same_file_at_every_commit(folder, monkeypatch, make):
    def read():
        figures.save(make(), "a/one")
        return {file.name: file.read_bytes() for file in (folder / "a").iterdir()}

    first = read()
    monkeypatch.setattr(saving, "commit", lambda: "another")
    monkeypatch.setattr(saving, "versions", lambda: {"torch": "another"})
    assert read() == first
    assert figures.manifest()["a/one"]["commit"] == "another"


def test_a_picture_without_a_story_is_named(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.jpg")
    with pytest.raises(ValueError, match=r"plain\.jpg holds no provenance"):
        figures.read_story(tmp_path / "plain.jpg")


# ---------------------------------------------------------------------------------------------- where, and from where


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A checkout with one committed figure and one committed table, and a run that has made neither."""
    monkeypatch.setenv("SWAPLIB_FIGURES", str(tmp_path / "clone" / "figures"))
    figures.save(curve(), "a/curve", caption="committed")
    figures.save_table(pd.DataFrame({"x": [1]}), "b/table", caption="committed")
    figures.write_gallery()
    monkeypatch.delenv("SWAPLIB_FIGURES")
    monkeypatch.setattr(saving, "checkout", lambda: tmp_path / "clone")
    return tmp_path / "clone"


def snapshot(folder):
    """All files of a folder with their times; locks, which git ignores, are left out."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.suffix != ".lock"]
    return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def test_runs_write_into_build_and_read_what_is_committed(clone):
    assert figures.folder() == clone / "build" / "figures"
    before = snapshot(clone / "figures")
    assert set(figures.index().index) == {"a/curve", "b/table"}
    assert figures.find("a/curve") == clone / "figures" / "a" / "curve.png"
    assert figures.find("b/table") == clone / "figures" / "b" / "table.csv"
    figures.save(figures.grid(pictures(2)), "a/curve", caption="mine")
    assert figures.find("a/curve") == clone / "build" / "figures" / "a" / "curve.jpg"
    assert figures.index().caption.to_dict() == {"a/curve": "mine", "b/table": "committed"}
    assert "table" not in figures.write_gallery().read_text().split("## a")[1], "the run's gallery holds its own"
    assert snapshot(clone / "figures") == before


def test_a_figure_that_nobody_saved_is_named(clone):
    with pytest.raises(FileNotFoundError, match=r"no figure or table 'a/lost': run the notebook"):
        figures.find("a/lost")
    figures.save(curve(), "a/curve").unlink()
    assert figures.find("a/curve") == clone / "figures" / "a" / "curve.png", "the run's own is gone"


def test_a_damaged_manifest_is_named(clone):
    (clone / "figures" / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json is damaged .* delete it"):
        figures.manifest()


def test_outside_of_a_checkout_a_folder_must_be_chosen(monkeypatch):
    monkeypatch.delenv("SWAPLIB_FIGURES")
    with pytest.raises(FileNotFoundError, match="set SWAPLIB_FIGURES"):
        figures.folder()


# ---------------------------------------------------------------------------------------------- refreshing


def rerun(monkeypatch, notebook="20_second", table=1, points=(1, 2, 4), seconds=0.0):
    """What a later run makes, at another commit."""
    monkeypatch.setattr(saving, "commit", lambda: "later")
    monkeypatch.setenv("SWAPLIB_RUN", json.dumps({"notebook": notebook, "parameters": {}}))
    figure, ax = plt.subplots(figsize=(2, 1.5))
    ax.plot(points)
    figures.save(figure, "a/curve", caption="committed")
    frame = pd.DataFrame({"x": [table], "seconds": [seconds]})
    figures.save_table(frame[["x"]] if seconds == 0 else frame, "b/table", caption="committed")


def test_refreshing_writes_nothing_where_nothing_changed(clone, monkeypatch):
    rerun(monkeypatch, notebook=None)
    before = snapshot(clone / "figures")
    assert figures.refresh(figures.folder(), clone / "figures") == []
    assert snapshot(clone / "figures") == before
    assert saving.read_manifest(clone / "figures")["a/curve"]["commit"] != "later"


def test_refreshing_renews_a_figure_when_its_pixels_changed(clone, monkeypatch):
    rerun(monkeypatch, points=(4, 2, 1))
    table = (clone / "figures/b/table.csv").stat().st_mtime_ns
    assert figures.refresh(figures.folder(), clone / "figures") == ["a/curve"]
    for ending in ("png", "pdf"):
        fresh = (figures.folder() / f"a/curve.{ending}").read_bytes()
        assert (clone / f"figures/a/curve.{ending}").read_bytes() == fresh
    entries = saving.read_manifest(clone / "figures")
    assert entries["a/curve"]["commit"] == "later"
    assert entries["b/table"]["commit"] != "later"
    assert (clone / "figures/b/table.csv").stat().st_mtime_ns == table


def test_refreshing_renews_a_table_when_its_numbers_changed(clone, monkeypatch):
    rerun(monkeypatch, table=2)
    assert figures.refresh(figures.folder(), clone / "figures") == ["b/table"]
    assert "| 2 |" in (clone / "figures/b/table.md").read_text()


def test_measured_times_are_no_news(clone, monkeypatch):
    rerun(monkeypatch, seconds=0.5)
    figures.refresh(figures.folder(), clone / "figures")
    before = (clone / "figures/b/table.csv").read_bytes()
    rerun(monkeypatch, seconds=0.7)
    assert figures.refresh(figures.folder(), clone / "figures") == []
    assert (clone / "figures/b/table.csv").read_bytes() == before


def test_refreshing_takes_new_words_but_keeps_the_picture(clone, monkeypatch):
    before = (clone / "figures/a/curve.png").read_bytes()
    figures.save(curve(), "a/curve", caption="A better caption.")
    assert figures.refresh(figures.folder(), clone / "figures") == []
    assert (clone / "figures/a/curve.png").read_bytes() == before
    assert "A better caption." in (clone / "figures/README.md").read_text()


def test_refreshing_takes_new_figures_and_drops_files_of_another_kind(clone):
    figures.save(figures.grid(pictures(2)), "a/curve")
    figures.save(curve(), "c/new")
    assert figures.refresh(figures.folder(), clone / "figures") == ["a/curve", "c/new"]
    files = {file.relative_to(clone / "figures").as_posix() for file in (clone / "figures").rglob("*.*")}
    assert {"a/curve.jpg", "c/new.png", "c/new.pdf", "b/table.csv"} <= files
    assert not {"a/curve.png", "a/curve.pdf"} & files


def test_refreshing_one_notebook_leaves_the_others_alone(clone, monkeypatch):
    rerun(monkeypatch, notebook="20_second", points=(4, 2, 1))
    assert figures.refresh(figures.folder(), clone / "figures", ["10_first"]) == []
    assert figures.refresh(figures.folder(), clone / "figures", ["20_second"]) == ["a/curve"]


def test_a_folder_is_not_renewed_from_itself(clone):
    with pytest.raises(ValueError, match="their own folder"):
        figures.refresh(clone / "figures", clone / "figures")


@pytest.mark.parametrize("name", ["", "/tmp/x", "../x", "a/b.png"])
def test_bad_names_are_refused(name):
    with pytest.raises(ValueError, match="no name for a figure"):
        figures.save(curve(), name)


def test_many_writers_lose_no_entry():
    frame = pd.DataFrame({"x": [1.0]})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: figures.save_table(frame, f"t/{k}"), range(24)))
    assert set(figures.manifest()) == {f"t/{k}" for k in range(24)}


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write_half():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_deleted_and_nothing_else(tmp_path):
    folder = tmp_path / "run" / "figures"
    folder.mkdir(parents=True)
    write = "import os, sys; from swaplib.provenance import replacing; "
    write += "at = replacing(sys.argv[1]); at.__enter__(); os._exit(9)"
    for name in ("a.b.jpg", "b"):
        subprocess.run([sys.executable, "-c", write, str(folder / name)], check=False)
    assert sorted(path.name.split(".")[1] for path in folder.iterdir()) == ["a", "b"], "both are left over"
    for name in (".hidden.jpg", ".a.b.0123456789ab.jpg", "a.jpg"):
        (folder / name).touch()
    with replacing(folder / "mine.txt") as temporary:  # of a process that lives
        temporary.write_text("whole")
        clear_left_over(tmp_path)
    assert {path.name for path in folder.iterdir()} == {".hidden.jpg", ".a.b.0123456789ab.jpg", "a.jpg", "mine.txt"}


def test_tables_are_exact_in_csv_and_readable_in_markdown(folder):
    frame = pd.DataFrame({"score": [1 / 3, float("nan")], "note": ["a|b", "c"]}, index=pd.Index(["x", "y"], name="f"))
    path = figures.save_table(frame, "compare/table", paper="RSGAN Table 1")
    assert pd.read_csv(path, index_col="f")["score"].iloc[0] == 1 / 3
    lines = path.with_suffix(".md").read_text().splitlines()
    assert lines[0] == "| f | score | note |"
    assert lines[2:] == ["| x | 0.3333 | a\\|b |", "| y | – | c |"]


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_saved_pictures_say_that_they_are_synthetic(tmp_path, ending):
    path = figures.save_picture(pictures(1, 32)[0], tmp_path / f"swap.{ending}", source="generated")
    with Image.open(path) as image:
        packet = image.info.get("xmp") or image.info["XML:com.adobe.xmp"].encode()
        assert image.size == (32, 32)
        assert image.getxmp()  # well-formed
    assert b"digitalsourcetype/trainedAlgorithmicMedia" in packet
    assert b"Synthetic picture" in packet


def test_saved_png_is_lossless(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    with Image.open(figures.save_picture(image, tmp_path / "a.png")) as saved:
        np.testing.assert_array_equal(np.asarray(saved), image)


def test_pictures_in_other_formats_are_refused(tmp_path):
    with pytest.raises(ValueError, match="choose one of these endings"):
        figures.save_picture(pictures(1)[0], tmp_path / "a.bmp")
    with pytest.raises(ValueError, match="unknown digital source"):
        figures.save_picture(pictures(1)[0], tmp_path / "a.png", source="real")


def test_saved_files_have_the_permissions_that_files_get_here(tmp_path):
    before = os.umask(0o077)
    try:
        with replacing(tmp_path / "private.txt") as temporary:
            temporary.write_text("new")
        assert (tmp_path / "private.txt").stat().st_mode & 0o777 == 0o600
        os.umask(0o022)
        with replacing(tmp_path / "private.txt") as temporary:
            temporary.write_text("newer")
        assert (tmp_path / "private.txt").stat().st_mode & 0o777 == 0o600, "what was private stays so"
        with replacing(tmp_path / "open.txt") as temporary:
            temporary.write_text("new")
        assert (tmp_path / "open.txt").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["open.txt", "private.txt"]


# ---------------------------------------------------------------------------------------------- the gallery


def test_gallery_shows_every_figure_and_drops_lost_ones(folder):
    figures.save(curve(), "rsgan/one", paper="RSGAN Fig. 3", caption="A caption.")
    figures.save_table(pd.DataFrame({"x": [1]}), "compare/two")
    figures.save(curve(), "rsgan/gone")
    (folder / "rsgan/gone.png").unlink()
    text = figures.write_gallery().read_text()
    for part in (
        '<img src="rsgan/one.png"', "A caption.", "RSGAN Fig. 3", "## compare", "[pdf](rsgan/one.pdf)",
        "[two](compare/two.md) [csv](compare/two.csv)",
    ):  # fmt: skip
        assert part in text
    assert "| x |" not in text, "tables are linked"
    assert "gone" not in text
    assert set(figures.manifest()) == {"rsgan/one", "compare/two"}
    assert figures.index().loc["rsgan/one", "regenerates"] == "RSGAN Fig. 3"


EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)> a | b\nc & d"


def test_texts_stay_texts(folder):
    """Captions, papers and cells of tables come from people's files, and are read in browsers."""
    figures.save(curve(), "rsgan/one", paper=EVIL, caption=EVIL)
    figures.save_table(pd.DataFrame({EVIL: [EVIL]}), "compare/two", caption=EVIL)
    for text in (figures.write_gallery().read_text(), (folder / "compare/two.md").read_text()):
        assert "<script" not in text
        assert "onerror=alert(1)>" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
        assert "a \\| b c &amp; d" in text


def test_tables_record_the_weights_that_were_loaded_and_the_gallery_says_which_were_replaced(folder, monkeypatch):
    released = weights.find_released("rsgan", "smoke")
    monkeypatch.setattr("swaplib.weights.released._loaded", [])
    frame = pd.DataFrame({"system": ["rsgan"], "psnr": [20.0]})
    figures.save_table(frame, "table/before")
    families.load("rsgan", "smoke")
    figures.save_table(frame, "table/after", caption="How near.")
    entries = figures.manifest()
    assert entries["table/before"]["checkpoints"] == {}
    assert entries["table/after"]["checkpoints"] == {released.name: sha256(released)}
    assert "earlier weights" not in figures.write_gallery().read_text()
    with saving.writing_manifest() as entries:
        entries["table/after"]["checkpoints"] = {released.name: "0" * 64, "somebody_elses.safetensors": "0" * 64}
    assert "How near. Made with earlier weights of rsgan_smoke. |" in figures.write_gallery().read_text()


def test_the_committed_gallery_is_whole_and_small():
    root = checkout() / "figures"
    text = (root / "README.md").read_text()
    assert len(text.encode()) < 60_000
    entries = saving.read_manifest(root)
    named = set(re.findall(r'\]\(([^)]+)\)|src="([^"]+)"', text))
    assert all((root / (link or picture)).exists() for link, picture in named)
    for name, entry in entries.items():
        assert entry["files"][0] in text, name
    kept = {file.relative_to(root).as_posix() for file in root.rglob("*.*") if file.parent != root}
    assert kept == {file for entry in entries.values() for file in entry["files"]}, "files and manifest agree"


def test_committed_figures_are_light_and_tell_their_story():
    root = checkout() / "figures"
    assert sum(file.stat().st_size for file in root.rglob("*") if file.is_file()) < 17_000_000
    for name, entry in saving.read_manifest(root).items():
        if entry["kind"] == "figure":
            story = figures.read_story(root / entry["files"][0])
            assert story["name"] == name
            assert not {"commit", "versions"} & set(story)
