"""Prepared data sets: layouts, resuming, what is skipped, reading back, rendered faces."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from skimage.data import astronaut
from tqdm.auto import tqdm
from typer.testing import CliRunner

from swaplib import data, photos, synthetic
from swaplib.cli import app
from swaplib.data import layouts, writer
from swaplib.faces import CELEBA_ATTRIBUTES, CELEBAMASK_HQ, Faces, from_uint8, relabel
from swaplib.provenance import Hold

PHOTO = np.ascontiguousarray(astronaut()[40:200, 140:300])
SIZE = 48


def save(path: Path, array: np.ndarray = PHOTO, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def variants(folder: Path, count: int) -> None:
    """Pictures that differ, all with a face."""
    for k in range(count):
        save(folder / f"{k:03d}.png", np.clip(PHOTO.astype(int) + k % 40, 0, 255).astype(np.uint8), compress_level=1)


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def prepare(folder: Path, out: Path, **options) -> data.Report:
    return data.prepare(folder, out, **{"size": SIZE, "jobs": 1, "progress": False, **options})


# ---------------------------------------------------------------------------------------------- layouts


def make_celeba(root: Path) -> None:
    for k in (1, 2, 3):
        save(root / f"Img/img_align_celeba/{k:06d}.jpg")
    values = [[-1] * 40, [1] * 40, [1 if name == "Male" else -1 for name in CELEBA_ATTRIBUTES]]
    lines = [f"{k:06d}.jpg " + " ".join(f"{v:2d}" for v in row) for k, row in enumerate(values, 1)]
    (root / "Anno").mkdir()
    (root / "Eval").mkdir()
    (root / "Anno/list_attr_celeba.txt").write_text("3\n" + " ".join(CELEBA_ATTRIBUTES) + " \n" + "\n".join(lines))
    (root / "Anno/identity_CelebA.txt").write_text("000001.jpg 2880\n000002.jpg 17\n000003.jpg 2880\n")
    (root / "Eval/list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n")
    names = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    points = "\n".join(f"{k:06d}.jpg  50 60  90 60  70 80  55 100  85 100" for k in (1, 2, 3))
    (root / "Anno/list_landmarks_align_celeba.txt").write_text(f"3\n{names}\n{points}\n")


def test_celeba(tmp_path):
    make_celeba(tmp_path / "celeba")
    found = layouts.recognise(tmp_path / "celeba")
    assert str(found) == "celeba: 3 pictures of 2 people with attributes, identities, splits, landmarks"
    assert found.entries[0].face == (70.0, 80.0)
    report = prepare(tmp_path / "celeba", tmp_path / "out", kind="celeba", size=None)
    assert report.faces == 3
    faces = data.open(tmp_path / "out")
    assert faces[0].size == (218, 178)
    assert faces.splits == {"train": 1, "val": 1, "test": 1}
    batch = faces[:]
    assert batch.identity.tolist() == [2880, 17, 2880]
    assert batch.attributes.sum(1).tolist() == [0, 40, 1]
    assert batch.attributes[2, CELEBA_ATTRIBUTES.index("Male")] == 1
    assert batch.names[0] == "images/000001.png"


def test_celeba_tables_as_csv(tmp_path):
    make_celeba(tmp_path / "celeba")
    text = tmp_path / "celeba/Anno/list_attr_celeba.txt"
    rows = [line.split() for line in text.read_text().splitlines()[2:]]
    reordered = list(reversed(CELEBA_ATTRIBUTES))  # columns count by name
    table = pd.DataFrame([row[1:] for row in rows], index=[row[0] for row in rows], columns=CELEBA_ATTRIBUTES)
    table[reordered].to_csv(tmp_path / "celeba/Anno/list_attr_celeba.csv", index_label="image_id")
    text.unlink()
    attributes = layouts.recognise(tmp_path / "celeba").entries[2].attributes
    assert [name for name, value in zip(CELEBA_ATTRIBUTES, attributes, strict=True) if value] == ["Male"]
    table[reordered[1:]].to_csv(tmp_path / "celeba/Anno/list_attr_celeba.csv", index_label="image_id")
    with pytest.raises(ValueError, match="no column Young"):
        layouts.recognise(tmp_path / "celeba")


def disc(labels: np.ndarray, centre: np.ndarray, radius: float, value: int) -> None:
    ys, xs = np.mgrid[: labels.shape[0], : labels.shape[1]]
    labels[(xs - centre[0]) ** 2 + (ys - centre[1]) ** 2 < radius**2] = value


def label_map(size: int = 160) -> np.ndarray:
    """Some of CelebAMask-HQ's classes about the face in PHOTO."""
    points = photos.detect(PHOTO)[0].landmarks * (size / 160)
    labels = np.zeros((size, size), np.uint8)
    labels[: size // 4] = 13
    labels[-size // 6 :] = 17
    disc(labels, points[30], size / 4, 1)
    disc(labels, points[30], size / 20, 2)
    disc(labels, points[42:48].mean(0), size / 20, 4)  # the person's left eye is on the right of the picture
    disc(labels, points[36:42].mean(0), size / 20, 5)
    disc(labels, points[57], size / 20, 12)
    return labels


def test_celebamask_hq_parts_merge_and_travel_along(tmp_path):
    root = tmp_path / "CelebAMask-HQ"
    labels = label_map(80)  # the masks are half the pictures' size, as in the published set
    for number in (0, 28001):
        save(root / f"CelebA-HQ-img/{number}.jpg", quality=95)
        for value in np.unique(labels)[1:]:
            part = layouts.PARTS[value - 1]
            mask = np.where(labels == value, 255, 0).astype(np.uint8)
            if part == "skin":
                mask = np.where(np.isin(labels, (1, 2, 4, 5, 12)), 255, 0).astype(np.uint8)  # parts overlap
            save(root / f"CelebAMask-HQ-mask-anno/{number // 2000}/{number:05d}_{part}.png", mask)
    names = " ".join(CELEBA_ATTRIBUTES)
    lines = "\n".join(f"{number}.jpg  " + " ".join(["1"] * 40) for number in (0, 28001))
    (root / "CelebAMask-HQ-attribute-anno.txt").write_text(f"2\n{names}\n{lines}\n")
    (root / "identity_CelebA.txt").write_text("000500.jpg 4\n")
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text(
        "idx  orig_idx  orig_file\n0 499 000500.jpg\n28001 7 000008.jpg\n"
    )
    found = layouts.recognise(root)
    assert str(found) == "celebamask_hq: 2 pictures of 1 people with masks, attributes, identities"
    assert np.array_equal(layouts.read_labels(root, found.entries[0], "parts"), labels)
    prepare(root, tmp_path / "out", size=128)
    faces = data.open(tmp_path / "out")
    assert faces.splits == {"train": 1, "test": 1}
    batch = faces[:]
    assert batch.identity.tolist() == [4, -1]
    assert set(batch.labels.unique().tolist()) >= {0, 1, 2, 4, 5, 13}
    for value, points in ((2, slice(30, 31)), (4, slice(42, 48)), (5, slice(36, 42))):
        ys, xs = np.nonzero(batch.labels[0].numpy() == value)
        middle = batch.landmarks[0, points].mean(0).numpy()
        assert np.hypot(xs.mean() - middle[0], ys.mean() - middle[1]) < 2


def test_flat_label_maps_in_three_orders(tmp_path):
    labels = label_map()
    for name, order in (("hq", "celebamask_hq"), ("bise", "bisenet"), ("helen", "mgpe")):
        save(tmp_path / name / "images/a.jpg", quality=95)
        save(tmp_path / name / "labels/a.png", relabel(torch.from_numpy(labels), target=order).numpy())
    read = {}
    for name in ("hq", "helen"):
        found = layouts.recognise(tmp_path / name)
        assert found.name == {"hq": "celebamask_hq", "helen": "helen"}[name]
        read[name] = layouts.read_labels(tmp_path / name, found.entries[0], found.labels)
    assert np.array_equal(read["hq"], labels)
    assert np.array_equal(read["helen"], np.where(labels == 17, 0, labels))  # Helen has no neck; the sides are right
    with pytest.raises(ValueError, match="label_order='bisenet'"):
        layouts.recognise(tmp_path / "bise")
    found = layouts.recognise(tmp_path / "bise", label_order="bisenet")
    assert np.array_equal(layouts.read_labels(tmp_path / "bise", found.entries[0], found.labels), labels)


def test_labels_that_do_not_fit(tmp_path):
    for name in "abcd":
        save(tmp_path / f"in/images/{name}.png")
    save(tmp_path / "in/labels/a.png", label_map())
    save(tmp_path / "in/labels/b.png", np.full((160, 160), 40, np.uint8))
    save(tmp_path / "in/labels/c.png", PHOTO)
    with pytest.raises(ValueError, match="no class maps"):
        layouts.recognise(tmp_path / "in")
    report = prepare(tmp_path / "in", tmp_path / "out", label_order="celebamask_hq")
    assert report.faces == 1
    reasons = dict(zip(report.skipped["source"], report.skipped["reason"], strict=True))
    assert "the value 40" in reasons["images/b.png"]
    assert "coloured" in reasons["images/c.png"]
    assert "no label map" in reasons["images/d.png"]
    assert prepare(tmp_path / "in", tmp_path / "alone", labels=False, label_order="celebamask_hq").faces == 4
    assert data.open(tmp_path / "alone")[0].labels is None


def test_helen_as_published(tmp_path):
    labels = label_map()
    for k, name in enumerate(("100_1", "200_1", "300_1")):
        save(tmp_path / f"helen/images/{name}.jpg", quality=95)
        order = [CELEBAMASK_HQ.index(part) for part in layouts._HELEN]
        for value, number in enumerate(order):
            soft = np.where(labels == number, 200, 20).astype(np.uint8) if k == 0 else np.zeros((160, 160), np.uint8)
            save(tmp_path / f"helen/labels/{name}/{name}_lbl{value:02d}.png", soft)
    for file, name in (("exemplars", "100_1"), ("tuning", "200_1"), ("testing", "300_1")):
        (tmp_path / f"helen/{file}.txt").write_text(f"1 , {name}\n")
    found = layouts.recognise(tmp_path / "helen")
    assert found.name == "helen"
    assert [entry.split for entry in found.entries] == ["train", "val", "test"]
    merged = layouts.read_labels(tmp_path / "helen", found.entries[0], found.labels)
    assert np.array_equal(merged, np.where(labels == 17, 0, labels))


def test_ffhq_uses_its_own_landmarks_and_licences(tmp_path, monkeypatch):
    points = photos.detect(PHOTO)[0].landmarks
    root = tmp_path / "ffhq"
    save(root / "images1024x1024/00000/00007.png")
    save(root / "images1024x1024/61000/61001.png")
    info = {"category": "training", "metadata": {"license": "CC BY 2.0"}, "image": {"face_landmarks": points.tolist()}}
    (root / "ffhq-dataset-v2.json").write_text(json.dumps({"7": info, "61001": {**info, "category": "validation"}}))
    monkeypatch.setattr(photos, "detect", lambda *_: pytest.fail("detected"))
    prepare(root, tmp_path / "out", kind="ffhq")
    faces = data.open(tmp_path / "out")
    assert faces.splits == {"train": 1, "val": 1}
    assert set(faces.metadata["licence"]) == {"CC BY 2.0"}
    expected = photos.move(points, photos.alignment(points, "ffhq", SIZE))
    assert np.allclose(faces[0].landmarks[0].numpy(), expected, atol=1e-3)
    (root / "ffhq-dataset-v2.json").unlink()
    (root / "images1024x1024").rename(tmp_path / "only")
    bare = layouts.recognise(tmp_path / "only")
    assert bare.name == "ffhq"
    assert [entry.split for entry in bare.entries] == ["train", "val"]


def test_vggface2_and_lfw(tmp_path):
    for path in ("train/n000002/0001_01.jpg", "train/n000003/0002_01.jpg", "test/n000001/0003_01.jpg"):
        save(tmp_path / "vgg" / path)
    found = layouts.recognise(tmp_path / "vgg")
    assert str(found) == "vggface2: 3 pictures of 3 people"
    assert {(entry.subject, entry.split) for entry in found.entries} == {
        ("n000002", "train"), ("n000003", "train"), ("n000001", "test"),
    }  # fmt: skip
    assert layouts.recognise(tmp_path / "vgg/train").name == "vggface2"
    for path in ("Ada_Lovelace/Ada_Lovelace_0001.jpg", "Ada_Lovelace/Ada_Lovelace_0002.jpg", "Pele/Pele_0001.jpg"):
        save(tmp_path / "lfw" / path)
        save(tmp_path / "flat" / Path(path).name)
    (tmp_path / "lfw/people.txt").write_text("a list")
    for name, people in (("lfw", {"Ada_Lovelace", "Pele"}), ("flat", {"Ada_Lovelace", ""})):
        if name == "flat":
            (tmp_path / "flat/Pele_0001.jpg").unlink()
            people = {"Ada_Lovelace"}
        found = layouts.recognise(tmp_path / name)
        assert found.name == "lfw"
        assert {entry.subject for entry in found.entries} == people
        assert all(entry.face == "central" for entry in found.entries)


def test_wrong_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        prepare(tmp_path / "nothing", tmp_path / "out")
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="is a file"):
        prepare(tmp_path / "file", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no files"):
        prepare(tmp_path / "empty", tmp_path / "out")
    save(tmp_path / "in/a.png")
    for layout in ("celeba", "celebamask_hq", "ffhq", "vggface2", "helen", "lfw"):
        with pytest.raises(ValueError, match=f"doesn't look like {layout}: expected"):
            prepare(tmp_path / "in", tmp_path / "out", layout=layout)
    for options, message in (
        ({"layout": "imagenet"}, "unknown layout"),
        ({"kind": "dlib"}, "unknown alignment"),
        ({"picture": "gif"}, "'png' or 'jpg'"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare(tmp_path / "in", tmp_path / "out", **options)
    with pytest.raises(ValueError, match="choose one outside"):
        prepare(tmp_path / "in", tmp_path / "in/out")
    with pytest.raises(ValueError, match="no prepared data set"):
        prepare(tmp_path / "in", save(tmp_path / "in2/b.png").parent)
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------------------------------- what is skipped


def test_every_kind_of_file_is_worked_through(tmp_path):
    folder = tmp_path / "in"
    grey = np.asarray(Image.fromarray(PHOTO).convert("L"))
    rgba = np.dstack([PHOTO, np.full(grey.shape, 255, np.uint8)])
    exif = Image.Exif()
    exif[0x0112] = 6
    save(folder / "good.jpg", quality=95)
    save(folder / "sub/grey16.png", grey.astype(np.uint16) * 257)
    save(folder / "turned.jpg", np.ascontiguousarray(np.rot90(PHOTO)), exif=exif, quality=95)
    Image.fromarray(PHOTO).convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    Image.fromarray(PHOTO).quantize(256).save(folder / "palette.png")
    save(folder / "alpha.png", rgba)
    first = Image.fromarray(PHOTO)
    first.save(folder / "moving.gif", save_all=True, append_images=[Image.fromarray(PHOTO[::-1].copy())])
    good = {"good.jpg", "sub/grey16.png", "turned.jpg", "cmyk.jpg", "palette.png", "alpha.png", "moving.gif"}
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.jpg").write_bytes((folder / "good.jpg").read_bytes()[:3000])
    (folder / "notes.txt").write_text("hello")
    (folder / ".hidden.jpg").write_bytes(b"")
    save(folder / "noface.jpg", np.full((150, 150, 3), 128, np.uint8))
    Image.new("1", (12_100, 12_100)).save(folder / "huge.png")
    bad = {"empty.jpg": "empty", "cut.jpg": "broken", "notes.txt": "not a picture", "noface.jpg": "no face"}
    bad["huge.png"] = "huge"

    report = prepare(folder, tmp_path / "out")
    faces = data.open(tmp_path / "out")
    assert set(faces.metadata["source"]) == good
    assert dict(zip(report.skipped["source"], report.skipped["cause"], strict=True)) == bad
    for source, reason in zip(report.skipped["source"], report.skipped["reason"], strict=True):
        assert source in reason
        assert re.search(r": \w+", reason)
        assert str(tmp_path) not in reason
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out/skipped.csv"), report.skipped)
    assert "5 skipped" in str(report)
    # All show the same face at the same place.
    reference = faces[faces.metadata.index[faces.metadata["source"] == "good.jpg"][0]]
    for one in faces:
        assert (one.images.mean(1) - reference.images.mean(1)).abs().mean() < 0.06
        assert (one.landmarks - reference.landmarks).abs().mean() < 1.0
    notes = dict(zip(faces.metadata["source"], faces.metadata["note"], strict=True))
    assert "first of 2 frames" in notes["moving.gif"]
    assert "EXIF" in notes["turned.jpg"]


def test_an_unforeseen_error_skips_one_picture_and_tells(tmp_path, monkeypatch):
    variants(tmp_path / "in", 3)
    real = photos.find

    def sometimes(path, *rest):
        if Path(path).name == "001.png":
            raise RuntimeError("odd")
        return real(path, *rest)

    monkeypatch.setattr(photos, "find", sometimes)
    report = prepare(tmp_path / "in", tmp_path / "out")
    assert report.faces == 2
    assert report.skipped["cause"].tolist() == ["unexpected"]
    assert "RuntimeError (odd)" in report.skipped["reason"][0]


def test_names_that_differ_by_suffix_alone(tmp_path):
    for name in ("a.png", "a.bmp", "b.png", "sub/a.png"):
        save(tmp_path / "in" / name)
    (tmp_path / "in/nosuffix").write_bytes((tmp_path / "in/a.png").read_bytes())
    assert prepare(tmp_path / "in", tmp_path / "out").faces == 5
    files = set(data.open(tmp_path / "out").metadata["file"])
    assert files == {f"images/{name}.png" for name in ("a.bmp", "a.png", "b", "sub/a", "nosuffix")}


# ---------------------------------------------------------------------------------------------- stopping and resuming


def test_the_result_does_not_depend_on_jobs(tmp_path):
    variants(tmp_path / "in", 6)
    prepare(tmp_path / "in", tmp_path / "one", jobs=1)
    prepare(tmp_path / "in", tmp_path / "two", jobs=2)
    prepare(tmp_path / "in", tmp_path / "three", jobs=3, backend="threading")
    with joblib.parallel_config("threading"):
        prepare(tmp_path / "in", tmp_path / "four", jobs=3)
    assert contents(tmp_path / "three") == contents(tmp_path / "four")
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "three")
    assert len(contents(tmp_path / "one")) == 6 + 3


def test_a_dask_cluster_gives_the_same(tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs the extra swaplib[cluster]")
    variants(tmp_path / "in", 4)
    prepare(tmp_path / "in", tmp_path / "one")
    with distributed.LocalCluster(1, processes=False, dashboard_address=None) as cluster, distributed.Client(cluster):
        prepare(tmp_path / "in", tmp_path / "two", jobs=2, backend="dask")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_command_line_prepares_on_a_cluster(tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs the extra swaplib[cluster]")
    variants(tmp_path / "in", 4)
    prepare(tmp_path / "in", tmp_path / "one")
    order = ["prepare", str(tmp_path / "in"), str(tmp_path / "two"), "--size", str(SIZE), "--scheduler"]
    local = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "protocol": "tcp", "dashboard_address": None}
    with distributed.LocalCluster(**local) as cluster:
        result = CliRunner().invoke(app, [*order, cluster.scheduler_address])
        assert result.exit_code == 0, result.output
        assert len(cluster.scheduler.workers) == 2
        assert cluster.scheduler.task_prefixes  # the work was theirs
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    with pytest.raises(OSError, match="no dask scheduler answers at"), data.connect("tcp://127.0.0.1:9", 0.5):
        pass


def test_sigterm_ends_the_workers_too(tmp_path):
    code = "import sys; from swaplib import data; data.render(sys.argv[1], 100_000, size=64, jobs=2, progress=False)"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")], start_new_session=True)
    records, end = tmp_path / "out/.unfinished/records", time.monotonic() + 90
    while not records.exists() or not list(records.glob("*.json")):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    process.terminate()
    assert process.wait(timeout=30) not in (0, None)
    count = len(list((tmp_path / "out/images").glob("*.png")))
    time.sleep(2)
    assert len(list((tmp_path / "out/images").glob("*.png"))) == count
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # nobody is left in its group


def test_a_worker_that_is_killed_gives_a_sentence(tmp_path):
    (tmp_path / ".unfinished").mkdir()
    tasks = [joblib.delayed(os._exit)(9)]
    with pytest.raises(OSError, match=r"a worker process was killed, perhaps for lack of memory: .* fewer jobs"):
        writer.run(tmp_path, tasks, 2, None, tqdm(disable=True))


def test_killed_half_way_and_started_again(tmp_path):
    variants(tmp_path / "in", 60)
    (tmp_path / "in/broken.png").write_bytes(b"x")
    code = (
        "import sys; from swaplib import data;"
        f"data.prepare(sys.argv[1], sys.argv[2], size={SIZE}, jobs=2, progress=False)"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", code, str(tmp_path / "in"), str(out)]
    records = out / ".unfinished/records"
    process = subprocess.Popen(command, start_new_session=True)
    end = time.monotonic() + 60
    while not records.exists() or len(list(records.glob("*.json"))) < 20:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)  # its workers too, so that nothing changes from here on
    process.wait()
    for path in (out / "images").rglob("*.png"):
        Image.open(path).load()
    with pytest.raises(ValueError, match="not finished"):
        data.open(out)
    finished = {record["source"] for record in writer.read_records(out)}
    assert 20 <= len(finished) < 61
    before = {path: path.stat().st_mtime_ns for path in (out / "images").glob("*.png") if path.name in finished}
    assert len(before) >= 19
    report = prepare(tmp_path / "in", out)
    assert report.done == 60 - len(finished - {"broken.png"})
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    prepare(tmp_path / "in", tmp_path / "straight")
    assert contents(out) == contents(tmp_path / "straight")


def test_preparing_again_makes_only_what_is_missing(tmp_path, monkeypatch):
    variants(tmp_path / "in", 4)
    (tmp_path / "in/late.png").write_bytes(b"not yet")
    assert prepare(tmp_path / "in", tmp_path / "out", limit=2).faces == 2
    assert prepare(tmp_path / "in", tmp_path / "out").done == 2
    before = contents(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(photos, "find", lambda path, *_: photos.read(path) and pytest.fail("done again"))
        assert prepare(tmp_path / "in", tmp_path / "out").done == 0  # the broken one is tried, in vain
    assert contents(tmp_path / "out") == before
    variants(tmp_path / "in", 5)  # one more
    save(tmp_path / "in/late.png")  # mended
    save(tmp_path / "in/000.png", PHOTO[:, ::-1].copy())  # changed
    (tmp_path / "out" / data.open(tmp_path / "out").metadata["file"][1]).unlink()  # lost
    report = prepare(tmp_path / "in", tmp_path / "out")
    assert report.faces == 6
    assert not len(report.skipped)
    prepare(tmp_path / "in", tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_other_settings_need_another_folder(tmp_path):
    variants(tmp_path / "in", 1)
    prepare(tmp_path / "in", tmp_path / "out")
    with pytest.raises(ValueError, match=r"made with .*'portrait'.*not with .*'celeba'"):
        prepare(tmp_path / "in", tmp_path / "out", kind="celeba")
    with pytest.raises(ValueError, match="prepared data set already"):
        prepare(tmp_path / "out", tmp_path / "again")


def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path, monkeypatch):
    variants(tmp_path / "in", 4)
    real, written = writer.write_picture, []

    def full(out, name, array):
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(name)
        real(out, name, array)

    monkeypatch.setattr(writer, "write_picture", full)
    with pytest.raises(OSError, match=r"the disk is full.*make room"):
        prepare(tmp_path / "in", tmp_path / "out")
    monkeypatch.setattr(writer, "write_picture", real)
    assert prepare(tmp_path / "in", tmp_path / "out").done == 2
    assert data.open(tmp_path / "out").card["faces"] == 4


# ---------------------------------------------------------------------------------------------- reading back


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("set")
    for k in range(14):
        name = f"First_Last{k // 2}"
        save(
            root / f"in/{name}/{name}_{k % 2 + 1:04d}.jpg", np.clip(PHOTO.astype(int) + 2 * k, 0, 255).astype(np.uint8)
        )
    prepare(root / "in", root / "out", validation=0.4)
    return root / "out"


def test_open_gives_faces(prepared):
    faces = data.open(prepared)
    assert len(faces) == 14
    assert faces.card["settings"]["layout"] == "lfw"
    one, some = faces[3], faces[2:5]
    assert isinstance(one, Faces)
    assert one.images.shape == (1, 3, SIZE, SIZE)
    assert torch.equal(one.images[0], some.images[1])
    assert one.labels is None
    assert some.identity.tolist() == [1, 1, 2]
    assert torch.equal(faces[-1].images, faces[13].images)
    picture = np.array(Image.open(prepared / one.names[0]))
    assert torch.equal(one.images[0], from_uint8(picture))
    with pytest.raises(IndexError):
        faces[14]


def test_a_picture_that_was_written_anew_is_read_anew(tmp_path, prepared):
    shutil.copytree(prepared, tmp_path / "copy")
    faces = data.open(tmp_path / "copy")
    before = faces[[2, 3]]
    assert torch.equal(faces.images([2, 3]), before.images)
    Image.new("RGB", (SIZE, SIZE), (255, 0, 0)).save(tmp_path / "copy" / before.names[0])
    red = torch.tensor([1.0, -1, -1])[:, None, None].expand(3, SIZE, SIZE)
    assert torch.equal(faces[2].images[0], red)
    assert torch.equal(faces[3].images[0], before.images[1])


def dark(images: torch.Tensor) -> torch.Tensor:
    """A parser that calls dark pixels hair."""
    return (13 * (images.mean(1) < 0)).to(torch.uint8)


def test_a_parser_labels_what_has_no_labels(tmp_path, prepared):
    data.prepare(prepared.parent / "in", tmp_path / "out", size=SIZE, jobs=1, limit=2, parser=dark, progress=False)
    faces = data.open(tmp_path / "out")
    assert faces.card["settings"]["parsed"]
    # The parser sees the portrait crop, here the picture itself at another size.
    assert (faces[0].labels == dark(faces[0].images)).float().mean() > 0.97
    assert 0.02 < (faces[0].labels == 13).float().mean() < 0.98
    assert data.open(prepared)[0].labels is None


def test_nobody_is_in_two_splits(prepared):
    faces = data.open(prepared)
    train, val = faces.split("train"), faces.split("val")
    assert len(train) + len(val) == 14
    assert not set(train.metadata["subject"]) & set(val.metadata["subject"])
    assert train.identities == val.identities == faces.identities
    with pytest.raises(ValueError, match="no split 'test': it has train, val"):
        faces.split("test")


def test_batches(prepared):
    faces = data.open(prepared)
    names = [batch.names for batch in faces.batches(4, seed=1)]
    assert [len(batch) for batch in names] == [4, 4, 4, 2]
    assert sorted(sum(names, ())) == sorted(faces.metadata["file"])
    assert names == [batch.names for batch in faces.batches(4, seed=1)]
    assert names != [batch.names for batch in faces.batches(4, seed=2)]
    two = [batch.names for batch in faces.batches(4, seed=1, epochs=2)]
    assert two[:4] == names
    assert two[4:] != names
    assert [batch.names for batch in faces.batches(4, seed=1, epochs=2, skip=3)] == two[3:]
    assert [len(batch) for batch in faces.batches(4, drop_last=True)] == [4, 4, 4]
    assert next(faces.batches(14)).names == tuple(faces.metadata["file"])
    endless = faces.batches(10, seed=0, epochs=None)
    assert sum(len(next(endless)) for _ in range(6)) == 3 * 14
    train = set(faces.split("train").metadata["file"])
    assert {name for batch in faces.batches(3, split="train") for name in batch.names} == train
    for size, options in ((0, {}), (20, {"drop_last": True})):
        with pytest.raises(ValueError, match="choose another size"):
            next(faces.batches(size, **options))


def test_another_picture_of_the_same_name_and_length_is_no_known_one(tmp_path):
    """Neither is a folder of the same name the same folder: two people's p.jpg never become one face."""
    for person, shift in (("a", 0), ("b", 8)):
        (tmp_path / person / "images").mkdir(parents=True)
        save(tmp_path / person / "images/p.png", np.roll(PHOTO, shift, 1))
    assert prepare(tmp_path / "a/images", tmp_path / "out").faces == 1
    with pytest.raises(ValueError, match=r"was made with .*choose another folder"):
        prepare(tmp_path / "b/images", tmp_path / "out")
    both = prepare(tmp_path / "a", tmp_path / "a_out"), prepare(tmp_path / "b", tmp_path / "b_out")
    assert [report.faces for report in both] == [1, 1]
    first = data.open(tmp_path / "a_out")[:].images
    source = tmp_path / "a/images/p.png"
    other = (tmp_path / "b/images/p.png").read_bytes()
    longer = max(len(other), source.stat().st_size)
    for path, content in ((source, source.read_bytes()), (tmp_path / "b/images/p.png", other)):
        path.write_bytes(content + b"\0" * (longer - len(content)))  # of one length, as only the pixels differ
    prepare(tmp_path / "a", tmp_path / "a_out")
    source.write_bytes((tmp_path / "b/images/p.png").read_bytes())
    assert prepare(tmp_path / "a", tmp_path / "a_out").done == 1
    assert not torch.equal(data.open(tmp_path / "a_out")[:].images, first)


def test_a_name_that_is_no_text_is_skipped_and_the_others_are_prepared(tmp_path):
    (tmp_path / "in").mkdir()
    save(tmp_path / "in/good.png")
    name = os.fsencode(tmp_path / "in") + b"/caf\xe9.png"
    with open(name, "wb") as file:
        file.write((tmp_path / "in/good.png").read_bytes())
    report = prepare(tmp_path / "in", tmp_path / "out")
    assert report.faces == 1
    assert report.skipped["cause"].tolist() == ["name"]
    assert "caf\\xe9.png is no name in UTF-8: rename it" in report.skipped["reason"][0]
    assert prepare(tmp_path / "in", tmp_path / "out").done == 0


def test_two_processes_dont_work_in_one_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "render_faces", fake_faces)
    with Hold(tmp_path / "out"), pytest.raises(ValueError, match=r"another process works in .*out: wait until it is"):
        data.render(tmp_path / "out", 2, size=16, jobs=1, progress=False)
    data.render(tmp_path / "out", 2, size=16, jobs=1, progress=False)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "card.json", "images", "labels", "metadata.parquet", "skipped.csv",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("file", "/etc/passwd", "names '/etc/passwd', which is no file of the set"),
        ("file", "images/../../secret.png", "no file of the set"),
        ("labels", "../labels.png", "no file of the set"),
        ("file", 3, "the column file holds more than text"),
        ("subject", None, "the column subject holds more than text"),
        ("landmarks", [1.0, 2.0], "lists of another length than 136"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, prepared, column, value, sentence):
    shutil.copytree(prepared, tmp_path / "set")
    table = pd.read_parquet(tmp_path / "set/metadata.parquet").astype(object)
    table.at[0, column] = value
    if isinstance(value, int):
        table[column] = value
    table.to_parquet(tmp_path / "set/metadata.parquet")
    with pytest.raises(ValueError, match=sentence):
        data.open(tmp_path / "set")
    table.drop(columns="split").to_parquet(tmp_path / "set/metadata.parquet")
    with pytest.raises(ValueError, match="has no column split"):
        data.open(tmp_path / "set")
    (tmp_path / "set/metadata.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match=r"metadata\.parquet is damaged"):
        data.open(tmp_path / "set")


def test_unknown_classes_and_pipes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "render_faces", fake_faces)
    data.render(tmp_path / "out", 2, size=16, jobs=1, progress=False)
    faces = data.open(tmp_path / "out")
    labels = tmp_path / "out" / faces.metadata["labels"][0]
    Image.fromarray(np.full((16, 16), 19, np.uint8)).save(labels)
    with pytest.raises(ValueError, match=r"holds the class 19, and CelebAMask-HQ has 19, from 0 on"):
        faces[0]
    labels.unlink()
    os.mkfifo(labels)
    with pytest.raises(ValueError, match=r"can't be read"):
        faces[0]


def test_open_says_what_is_wrong(tmp_path, prepared):
    with pytest.raises(FileNotFoundError, match=r"data\.prepare or data\.render"):
        data.open(tmp_path / "nothing")
    with pytest.raises(ValueError, match="no prepared data set"):
        data.open(tmp_path)
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        data.open(tmp_path)
    faces = data.open(prepared)
    faces.metadata.loc[0, "file"] = "images/gone.png"
    with pytest.raises(ValueError, match=r"gone\.png can't be read"):
        faces[0]
    whole = (faces.folder / faces.metadata.loc[1, "file"]).read_bytes()
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(whole.replace(b"IDAT", b"\0\0\0\0"))  # Pillow raises a SyntaxError
    faces.metadata.loc[1, "file"] = str(damaged)
    with pytest.raises(ValueError, match=r"damaged\.png (can't be read|is damaged)"):
        faces[1]


# ---------------------------------------------------------------------------------------------- rendered faces


def fake_faces(count: int, seed: int = 0, start: int = 0, size: int = 16, **_) -> Faces:
    """Stands in for the renderer where only the folder matters; depends on (seed, number) alone, as it does."""
    rows = [torch.Generator().manual_seed(1000 * seed + k) for k in range(start, start + count)]
    images = torch.stack([torch.rand(3, size, size, generator=one) * 2 - 1 for one in rows])
    points = torch.stack([torch.rand(68, 2, generator=one) * size for one in rows])
    attributes = torch.full((count, 40), torch.nan)
    attributes[:, 3] = 1
    number = torch.arange(start, start + count)
    factors = {"pose": torch.stack([torch.rand(3, generator=one) for one in rows]), "skin": number[:, None].float()}
    return Faces(images, (images[:, 0] > 0).byte() * 13, points, attributes, number, factors)


def test_render_writes_what_the_renderer_gives(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "render_faces", fake_faces)
    data.render(tmp_path / "out", 40, seed=3, size=16, jobs=1, progress=False)
    faces, truth = data.open(tmp_path / "out"), fake_faces(40, seed=3)
    batch = faces[:]
    assert (batch.images - truth.images).abs().max() <= 1 / 255 + 1e-6
    assert torch.equal(batch.labels, truth.labels)
    assert torch.equal(batch.landmarks, truth.landmarks)
    assert torch.equal(batch.identity, truth.identity)
    assert torch.equal(batch.attributes.nan_to_num(-1), truth.attributes.nan_to_num(-1))
    assert {name: torch.equal(batch.factors[name], value) for name, value in truth.factors.items()} == {
        "pose": True, "skin": True,
    }  # fmt: skip
    assert faces.card["made_by"] == "data.render"
    assert not (tmp_path / "out/.unfinished").exists()


def test_render_resumes_and_grows(tmp_path, monkeypatch):
    assert data.SHARD == 32  # so that 100 faces are four shards
    monkeypatch.setattr(synthetic, "render_faces", fake_faces)
    data.render(tmp_path / "straight", 100, size=16, jobs=1, progress=False)
    calls = []

    def stops(count, **options):
        calls.append(options["start"])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fake_faces(count, **options)

    monkeypatch.setattr(synthetic, "render_faces", stops)
    with pytest.raises(KeyboardInterrupt):
        data.render(tmp_path / "out", 70, size=16, jobs=1, progress=False)
    with pytest.raises(ValueError, match="not finished"):
        data.open(tmp_path / "out")
    data.render(tmp_path / "out", 70, size=16, jobs=1, progress=False)
    assert calls == [0, 32, 64, 64]
    data.render(tmp_path / "out", 100, size=16, jobs=1, progress=False)
    assert contents(tmp_path / "out") == contents(tmp_path / "straight")
    with pytest.raises(ValueError, match="holds 100 faces already"):
        data.render(tmp_path / "out", 50, size=16, progress=False)
    with pytest.raises(ValueError, match=r"seed=0.*not with.*seed=1"):
        data.render(tmp_path / "out", 100, seed=1, size=16, progress=False)
    with pytest.raises(ValueError, match="unknown world"):
        data.render(tmp_path / "new", 1, world="tame")
    with pytest.raises(ValueError, match="at least 1"):
        data.render(tmp_path / "new", 0)


def test_crossed_people_are_each_others_true_swaps(tmp_path):
    data.render(tmp_path / "out", 24, seed=5, size=64, shots=2, relatives=2, crossed=3, jobs=1, progress=False)
    found = data.open(tmp_path / "out")
    group = data.Crossed(found)
    assert (len(group), group.people, group.shots) == (4, 3, 6)
    faces = group[[1]]
    assert faces.identity.tolist() == [6, 6, 8, 8, 10, 10]
    sources, targets = [0, 3, 4], [3, 4, 1]
    wanted = [1, 2, 5]  # person of the source, shot of the target
    truth = synthetic.true_swap(faces[sources], faces[targets])
    assert (truth.images - faces.images[wanted]).abs().max() <= 1 / 127 + 1e-6
    for among in range(4):
        assert len(set(found.metadata["split"][6 * among : 6 * among + 6])) == 1, "a group's truths stay in its split"
    single = data.Crossed(found, taken=1)
    assert (len(single), single.shots) == (8, 3)
    assert single[[3]].identity.tolist() == [6, 8, 10]
    assert torch.equal(single[[3]].images, faces.images[1::2]), "the second shot of the second group"
    with pytest.raises(ValueError, match="2 shots can't be taken 3 at a time"):
        data.Crossed(found, taken=3)
    data.render(tmp_path / "single", 4, size=64, jobs=1, progress=False)
    with pytest.raises(ValueError, match="render with --crossed 4"):
        data.Crossed(data.open(tmp_path / "single"))


def test_a_cards_hash_tells_sets_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "render_faces", fake_faces)
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        data.render(tmp_path / name, 5, seed=seed, size=16, jobs=1, progress=False)
    one, again, other = (data.open(tmp_path / name).card["sha256"] for name in ("one", "again", "other"))
    assert one == again != other
    card = data.open(tmp_path / "one").card
    assert card["settings"]["renderer"] == synthetic.RENDERER


def test_render_with_the_real_renderer(tmp_path):
    data.render(tmp_path / "out", 2, seed=5, size=64, jobs=1, progress=False)
    faces, truth = data.open(tmp_path / "out"), synthetic.render_faces(data.SHARD, seed=5, size=64)[[0, 1]]
    batch = faces[:]
    assert torch.equal(batch.labels, truth.labels)
    assert torch.equal(batch.landmarks, truth.landmarks)
    assert batch.factors.keys() == truth.factors.keys()
    assert all(torch.equal(batch.factors[name], truth.factors[name]) for name in truth.factors)
    aligned = photos.align(batch, "celeba")
    assert aligned.size == (218, 178)
