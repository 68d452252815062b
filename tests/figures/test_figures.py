"""figures.py and provenance.py: what is drawn, what is saved, and what the files say about themselves."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from swaplib import figures
from swaplib.faces import CELEBAMASK_HQ, LABEL_COLOURS, Faces, from_uint8
from swaplib.provenance import commit, replacing, sha256, versions


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SWAPLIB_FIGURES", str(tmp_path / "figures"))
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
        told = json.loads(image.text["Provenance"])
        assert "digitalsourcetype/algorithmicMedia" in image.text["XML:com.adobe.xmp"]
    assert told == {"name": "rsgan/fig4", **{key: value for key, value in entry.items() if key != "files"}}
    assert b"rsgan/fig4" in (folder / "rsgan/fig4.pdf").read_bytes()


def test_raster_figures_get_no_pdf(folder):
    figures.save(figures.grid(pictures(2)), "faces")
    assert figures.manifest()["faces"]["files"] == ["faces.png"]
    assert not (folder / "faces.pdf").exists()


def test_the_same_figure_is_the_same_file(folder):
    first = figures.save(curve(), "a/curve").read_bytes(), (folder / "a/curve.pdf").read_bytes()
    assert (figures.save(curve(), "a/curve").read_bytes(), (folder / "a/curve.pdf").read_bytes()) == first


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


# ---------------------------------------------------------------------------------------------- the gallery


def test_gallery_shows_every_figure_and_drops_lost_ones(folder):
    figures.save(curve(), "rsgan/one", paper="RSGAN Fig. 3", caption="A caption.")
    figures.save_table(pd.DataFrame({"x": [1]}), "compare/two")
    figures.save(curve(), "rsgan/gone")
    (folder / "rsgan/gone.png").unlink()
    text = figures.write_gallery().read_text()
    for part in ("![A caption.](rsgan/one.png)", "RSGAN Fig. 3", "| x |", "## compare", "[PDF](rsgan/one.pdf)"):
        assert part in text
    assert "gone" not in text
    assert set(figures.manifest()) == {"rsgan/one", "compare/two"}
    assert figures.index().loc["rsgan/one", "regenerates"] == "RSGAN Fig. 3"
