"""Feed damaged files to everything that reads files, and count what happens.

    python benchmarks/fuzzing.py [--minutes 60] [--seed 0] [--kept build/fuzzing]

Small whole files of each kind are made, then damaged at random: bits turned, bytes set to extremes, pieces cut out,
doubled or taken from another file, ends cut off. Each is read in a process of its own kind, which may die. An answer is
`read` where something came back, `refused` where one sentence that names the file did, and a fault otherwise: another
sentence, a traceback, a dead process, more than ten seconds of a processor or a minute in all, or more than a gigabyte.
Files that lead to faults are kept.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import pickle
import re
import resource
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nbformat
import numpy as np
import pandas as pd
import torch
import yaml
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image
from safetensors.torch import save_file
from tqdm.auto import tqdm

from swaplib import benchmark, data, figures, foreign, generators, photos, provenance, weights
from swaplib.data import layouts, preparation, writer
from swaplib.faces import CELEBA_ATTRIBUTES
from swaplib.figures.saving import read_entries
from swaplib.networks.stylegan2 import Generator
from swaplib.studio import masks
from swaplib.studio.painted import Painting
from swaplib.studio.renderer import State, read_saved
from swaplib.training import runtime
from swaplib.video import files
from swaplib.weights import published, published_names
from swaplib.workbook import runner

LIMIT_SECONDS, LIMIT_BYTES = 10, 1 << 30
HANGS_SECONDS = 60  # a busy machine gives little of its processors


def make_seeds(folder: Path) -> None:
    """Write small whole files, those of each door (`DOORS`) in a folder of its own."""
    for door in DOORS:
        (folder / door).mkdir(parents=True)
    torch.manual_seed(0)
    generator, rng = Generator(16, 128, 8, 6, 7, 2).state_dict(), np.random.default_rng(0)
    names, mean = published_names.to_rosinality(generator)
    torch.save({"g_ema": names, "latent_avg": mean}, folder / "published" / "rosinality.pt")
    state = {f"convs.{k}.weight": torch.randn(4, 3, 3, 3) for k in range(3)}
    state["mean"] = torch.zeros(4, dtype=torch.half)
    torch.save({"g_ema": state, "latent_avg": torch.zeros(8)}, folder / "published" / "whole.pt")
    torch.save(state, folder / "published" / "old.pt", _use_new_zipfile_serialization=False)
    arrays = {"a": np.arange(12.0, dtype=np.float32).reshape(3, 4), "b": np.float64(2), "names": ["x", "y"]}
    for protocol in (2, 4):
        (folder / "published" / f"protocol{protocol}.pkl").write_bytes(pickle.dumps(arrays, protocol))
    save_file(generator, folder / "published" / "official.safetensors")
    torch.save({"state_dict": state}, folder / "named" / "named.pth")
    smallest = weights.find_released("stylegan2", "smoke")
    for door in ("released", "weights_card"):
        shutil.copy(smallest, folder / door / "own.safetensors")
    head = {"family": "stylegan2", "sha256": weights.file_sha256(smallest), "config": {}, "frozen": {}, "results": {}}
    (folder / "weights_card" / "own.md").write_text(f"---\n{yaml.safe_dump(head)}---\n\nWords.\n", encoding="utf-8")
    content = {"family": "small", "config": "{}", "settings": {"batch": 4}, "step": 3, "seconds": 1.5}
    parts = {"weights": state, "ema": state, "optimisers": {}}
    runtime.write(folder / "checkpoint" / runtime.CHECKPOINT, {**content, **parts})
    (folder / "log" / "log.csv").write_text("step,images\n" + "".join(f"{k},{4 * k}\n" for k in range(5)))

    picture = rng.integers(0, 255, (32, 40, 3), dtype=np.uint8)
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"):
        Image.fromarray(picture).save(folder / "picture" / f"picture.{kind.lower()}", kind)
    masks.save(picture[..., 0] % 19, folder / "mask" / "mask.png")
    info = provenance.png_text("rendered", "A figure.", Provenance='{"name": "figure"}')
    Image.fromarray(picture).save(folder / "figure" / "figure.png", pnginfo=info)
    files.write(folder / "film" / "film.mp4", [np.full((48, 64, 3), 20 * k, np.uint8) for k in range(6)], 12)
    shutil.copy(folder / "film" / "film.mp4", folder / "mark" / "film.mp4")
    np.savez_compressed(folder / "arrays" / "arrays.npz", pictures=picture, weights=picture[..., 0])

    _make_set(folder / "set", picture)
    hashes = dict.fromkeys(("source", "target", "truth"), "0" * 64)
    about = {"set": "calm", "size": 128, "seed": 0, "series": "1", "renderer": "1"}
    card = {**about, "pairs": [{"number": 0, "sha256": hashes}]}
    (folder / "pairs" / "card.json").write_text(json.dumps(card))
    _make_layouts(folder, picture)
    (folder / "entries" / "manifest.json").write_text(json.dumps({"figure": {"kind": "figure", "files": ["a.png"]}}))
    (folder / "state" / "state.json").write_text(State(amounts={"texture": 0.5}).to_json())
    edit = masks.Edit("grow", {"region": "nose", "by": 2})
    (folder / "painting" / "painting.json").write_text(Painting(edits=(edit,)).to_json())
    cell = new_code_cell("count: int = 1  # how many", metadata={"tags": ["parameters"]})
    for door in ("notebook", "preset"):
        nbformat.write(new_notebook(cells=[cell]), folder / door / "00_toy.ipynb")
    (folder / "preset" / "presets").mkdir()
    (folder / "preset" / "presets" / "toy.yaml").write_text("00_toy:\n  count: 2\n")


def _make_set(folder: Path, picture: np.ndarray) -> None:
    """Write a prepared data set of two pictures."""
    settings = {"source": "drawn", "layout": "plain", "kind": "as_is", "size": [32, 40]}
    card = preparation.make_card("data.prepare", "drawn", (32, 40), settings)
    writer.start(folder, card)
    rows = []
    for k in range(2):
        row = {"file": f"images/{k}.png", "labels": f"labels/{k}.png", "source": f"{k}.png", "subject": str(k)}
        writer.write_picture(folder, row["file"], picture)
        writer.write_picture(folder, row["labels"], picture[..., 0] % 19)
        about = {"split": "train", "landmarks": [10.0] * 136, "attributes": [1.0] * 40, "licence": "none"}
        rows.append({**row, **about, "note": ""})
    writer.finish(folder, card, rows, pd.DataFrame({"source": [], "cause": [], "reason": []}))


def _make_layouts(folder: Path, picture: np.ndarray) -> None:
    """Write the files that come with published data sets, each with a picture that it speaks of."""
    ones, row = " ".join(["1"] * len(CELEBA_ATTRIBUTES)), ",".join(["1"] * 10)
    points = ["left_x", "left_y", "right_x", "right_y", "nose_x", "nose_y", "low_x", "low_y", "last_x", "last_y"]
    record = {"category": "training", "metadata": {"license": "none"}, "image": {"face_landmarks": [[1.0, 2.0]] * 68}}
    told = {
        "celeba/list_attr_celeba.txt": f"1\n{' '.join(CELEBA_ATTRIBUTES)}\n000001.jpg {ones}\n",
        "celeba/list_landmarks_align_celeba.txt": f"1\n{' '.join(points)}\n000001.jpg {row.replace(',', ' ')}\n",
        "celeba/identity_CelebA.txt": "000001.jpg 2880\n",
        "celeba/list_eval_partition.txt": "000001.jpg 0\n",
        "celebamask_hq/identity_CelebA.txt": "000001.jpg 2880\n",
        "celebamask_hq/CelebA-HQ-to-CelebA-mapping.txt": "idx orig_idx orig_file\n0 1 000001.jpg\n",
        "ffhq/ffhq-dataset-v2.json": json.dumps({"0": record}),
        "vggface2/loose_landmark_train.csv": f"NAME_ID,{','.join(points)}\nn000002/0001_01,{row}\n",
        "helen/exemplars.txt": "1 , 0_1\n",
        "classes/labels/classes.csv": "value,name\n13,cloth\n17,hair\n",
    }  # fmt: skip
    pictures = ("celeba/img_align_celeba/000001.jpg", "celebamask_hq/CelebA-HQ-img/0.jpg",
                "ffhq/images1024x1024/00000/00000.png", "vggface2/train/n000002/0001_01.jpg", "helen/images/0_1.jpg",
                "classes/images/0.png", "classes/labels/0.png")  # fmt: skip
    for name, text in told.items():
        path = folder / "layout" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in pictures:
        path = folder / "layout" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture[..., 0] % 19 if "labels" in name else picture).save(path)


def damage(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Damage the bytes of a file in one to four places."""
    found = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(0, max(1, len(found))))
        length = int(min(len(found) - at, rng.choice([1, 2, 4, 8, 64, 1024])))
        match rng.integers(0, 7):
            case 0 if found:
                found[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                found[at : at + length] = bytes(rng.choice([0, 1, 0x7F, 0x80, 0xFF], length).tolist())
            case 2:
                del found[at : at + length]
            case 3:
                found[at:at] = found[at : at + length]
            case 4:
                del found[at:]
            case 5:
                start = int(rng.integers(0, max(1, len(other))))
                found[at : at + length] = other[start : start + length]
            case _:
                found[at : at + length] = rng.bytes(length)
    return bytes(found)


# ---------------------------------------------------------------------------------------------- the doors


class Door(NamedTuple):
    """What reads a kind of file: called with its path. seeds: a pattern of the files in its folder to be damaged."""

    read: Callable[[Path], object]
    seeds: str = ".*"


def read_set(path: Path) -> None:
    """Open a prepared data set of which one file is damaged, and take a face out of it."""
    home = path.parent if path.parent.name == "set" else path.parent.parent
    dataset = data.open(home)
    _ = dataset[[0]], len(dataset)


def read_film(path: Path) -> None:
    files.info(path)
    for _ in files.frames(path):
        pass


def read_log(path: Path) -> None:
    with runtime.log(path, ["step", "images"], 3):
        pass


def read_layout(path: Path) -> object:
    home = path.parent.parent if path.parent.name == "labels" else path.parent
    return layouts.recognise(home, "celebamask_hq" if home.name == "classes" else home.name)


DOORS = {
    "published": Door(published.read),
    "named": Door(weights.read_tensors),
    "released": Door(lambda path: generators.load("stylegan2", "smoke", file=path)),
    "weights_card": Door(lambda path: weights.read_card(path.with_suffix(".safetensors")), r".*\.md"),
    "checkpoint": Door(runtime.config_of),
    "log": Door(read_log),
    "picture": Door(photos.load),
    "mask": Door(masks.load),
    "figure": Door(figures.read_story),
    "film": Door(read_film),
    "mark": Door(files.read_mark),
    "arrays": Door(lambda path: foreign.read_arrays(path, "make it again", ("pictures", "weights"))),
    "set": Door(read_set, r"card\.json|metadata\.parquet|(images|labels)/0\.png"),
    "pairs": Door(lambda path: benchmark.read_card(path.parent)),
    "layout": Door(read_layout, r".*\.(txt|csv|json)"),
    "entries": Door(read_entries),
    "state": Door(lambda path: read_saved(path, State)),
    "painting": Door(lambda path: read_saved(path, Painting)),
    "notebook": Door(runner.parameters),
    "preset": Door(lambda path: runner.load_preset(path.stem, path.parent.parent), r"presets/.*"),
}
"""Folder of the seeds -> what reads its files."""


def list_seeds(folder: Path, door: str) -> list[Path]:
    files = sorted(path for path in (folder / door).rglob("*") if path.is_file())
    return [path for path in files if re.fullmatch(DOORS[door].seeds, path.relative_to(folder / door).as_posix())]


def _ring(*_: object) -> None:
    raise TimeoutError("too slow")


def work(pipe: multiprocessing.connection.Connection) -> None:
    """Read files that the other end names, and answer what came of each."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGPROF, _ring)
    while True:
        door, path = pipe.recv()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.setitimer(signal.ITIMER_PROF, LIMIT_SECONDS)
        try:
            DOORS[door].read(Path(path))
            answer = "read"
        except TimeoutError:
            answer = "slow"
        except (ValueError, OSError, runner.WorkbookError) as error:
            named = any(str(name) in str(error) for name in (Path(path).name, Path(path).parent))
            answer = "refused" if named and "\n" not in str(error) else f"unclear: {str(error)[:60]}"
        except Exception as error:  # whatever else comes is what is looked for
            answer = f"traceback: {type(error).__name__}"
        signal.setitimer(signal.ITIMER_PROF, 0)
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        pipe.send(("large" if grown > LIMIT_BYTES else answer, grown))


class Reader:
    """A process that reads, and another one where it dies."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.pipe, there = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("fork").Process(target=work, args=(there,), daemon=True)
        self.process.start()
        there.close()

    def read(self, door: str, path: Path) -> tuple[str, int]:
        self.pipe.send((door, str(path)))
        try:
            if self.pipe.poll(HANGS_SECONDS):
                return self.pipe.recv()
            answer = "hangs"
        except EOFError:
            answer = "crash"
        self.process.kill()
        self.start()
        return answer, 0


def lay_out(folder: Path, seeds: Path, seed: Path, content: bytes | None) -> Path:
    """Copy a door's folder with one file damaged, or missing where there is no content; return that file's path."""
    door = seed.relative_to(seeds).parts[0]
    shutil.rmtree(folder / door, ignore_errors=True)
    shutil.copytree(seeds / door, folder / door)
    path = folder / seed.relative_to(seeds)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=Path, default=Path("build/fuzzing"))
    chosen = parser.parse_args()
    rng, counts, most = np.random.default_rng(chosen.seed), Counter(), Counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder, whole = Path(scratch), Path(scratch) / "seeds"
        make_seeds(whole)
        seeds = {door: list_seeds(whole, door) for door in DOORS}
        contents = {path: path.read_bytes() for paths in seeds.values() for path in paths}
        reader, end, doors = Reader(), time.monotonic() + 60 * chosen.minutes, list(DOORS)
        with tqdm(unit="file") as bar:
            while time.monotonic() < end:
                door = doors[rng.integers(len(doors))]
                seed = seeds[door][rng.integers(len(seeds[door]))]
                other = contents[list(contents)[rng.integers(len(contents))]]
                content = damage(contents[seed], other, rng)
                answer, grown = reader.read(door, lay_out(folder, whole, seed, content))
                counts[door, answer] += 1
                most[door] = max(most[door], grown)
                if answer not in ("read", "refused"):
                    chosen.kept.mkdir(parents=True, exist_ok=True)
                    name = re.sub(r"\W+", "_", answer)
                    (chosen.kept / f"{door}_{name}_{counts[door, answer]}{seed.suffix}").write_bytes(content)
                bar.update()
    print("| door | files | read | refused | faults | most memory |\n|---|---:|---:|---:|---|---:|")
    for door in doors:
        mine = {answer: count for (one, answer), count in counts.items() if one == door}
        faults = ", ".join(f"{n} {a}" for a, n in mine.items() if a not in ("read", "refused")) or "0"
        told = f"{sum(mine.values())} | {mine.get('read', 0)} | {mine.get('refused', 0)} | {faults}"
        print(f"| {door} | {told} | {most[door] / 2**20:.0f} MB |")


if __name__ == "__main__":
    main()
