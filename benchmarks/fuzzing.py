"""Feed damaged files to everything that reads files, and count what happens.

    python benchmarks/fuzzing.py [--minutes 60] [--seed 0] [--kept build/fuzzing]

Small whole files of each kind are made, then damaged at random: bits turned, bytes set to extremes, pieces cut out,
doubled or taken from another file, ends cut off. Each is read in a process of its own kind, which may die. An answer is
`read` where something came back, `refused` where one sentence did (ValueError or OSError), and a fault otherwise: a
traceback, a dead process, more than ten seconds, or more than a gigabyte. Files that lead to faults are kept.
"""

from __future__ import annotations

import argparse
import multiprocessing
import pickle
import resource
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from tqdm.auto import tqdm

from swaplib import data, families, photos, weights
from swaplib.networks.stylegan2 import Generator
from swaplib.video import files
from swaplib.weights import published, published_names

LIMIT_SECONDS, LIMIT_BYTES = 10, 1 << 30


def make_seeds(folder: Path) -> dict[str, list[Path]]:
    """Write small whole files; return door -> files."""
    torch.manual_seed(0)
    names, mean = published_names.to_rosinality(Generator(16, 128, 8, 6, 7, 2).state_dict())
    torch.save({"g_ema": names, "latent_avg": mean}, folder / "rosinality.pt")
    state = {f"convs.{k}.weight": torch.randn(4, 3, 3, 3) for k in range(3)} | {
        "mean": torch.zeros(4, dtype=torch.half)
    }
    torch.save({"g_ema": state, "latent_avg": torch.zeros(8)}, folder / "whole.pt")
    torch.save(state, folder / "old.pt", _use_new_zipfile_serialization=False)
    arrays = {"a": np.arange(12.0, dtype=np.float32).reshape(3, 4), "b": np.float64(2), "names": ["x", "y"]}
    for protocol in (2, 4):
        (folder / f"protocol{protocol}.pkl").write_bytes(pickle.dumps(arrays, protocol))
    save_file(Generator(16, 128, 8, 6, 7, 2).state_dict(), folder / "official.safetensors")
    own = folder / "own.safetensors"
    shutil.copy(weights.find_released("rsgan", "smoke"), own)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 40, 3), dtype=np.uint8))
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"):
        picture.save(folder / f"picture.{kind.lower()}", kind)
    rendered = data.render(folder / "faces", 3, size=64, jobs=1)
    film = folder / "film.mp4"
    files.write(film, [np.full((48, 64, 3), 20 * k, np.uint8) for k in range(6)], 12)
    return {
        "published": [
            folder / name for name in ("rosinality.pt", "whole.pt", "old.pt", "protocol2.pkl", "protocol4.pkl")
        ],
        "tensors": [folder / "official.safetensors", own],
        "released": [own],
        "pictures": sorted(folder.glob("picture.*")),
        "table": [rendered / "metadata.parquet"],
        "card": [rendered / "card.json"],
        "labels": sorted((rendered / "labels").iterdir())[:1],
        "film": [film],
    }


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


def read_set(path: Path) -> None:
    """Open a prepared data set of which one file is damaged, and take a face out of it."""
    dataset = data.open(path)
    _ = dataset[[0]], len(dataset)


def read_film(path: Path) -> None:
    files.info(path)
    for _ in files.frames(path):
        pass


DOORS: dict[str, Callable[[Path], object]] = {
    "published": published.read,
    "tensors": published.read,
    "released": lambda path: families.load("rsgan", "smoke", file=path),
    "pictures": photos.load,
    "table": read_set,
    "card": read_set,
    "labels": read_set,
    "film": read_film,
}


def _ring(*_: object) -> None:
    raise TimeoutError("too slow")


def work(pipe: multiprocessing.connection.Connection) -> None:
    """Read files that the other end names, and answer what came of each."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, _ring)
    while True:
        door, path = pipe.recv()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.alarm(LIMIT_SECONDS)
        try:
            DOORS[door](Path(path))
            answer = "read"
        except TimeoutError:
            answer = "slow"
        except (ValueError, OSError):
            answer = "refused"
        except Exception as error:  # whatever else comes is what is looked for
            answer = f"traceback: {type(error).__name__}"
        signal.alarm(0)
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
            if self.pipe.poll(2 * LIMIT_SECONDS):
                return self.pipe.recv()
            answer = "hangs"
        except EOFError:
            answer = "crash"
        self.process.kill()
        self.start()
        return answer, 0


def lay_out(folder: Path, seed: Path, content: bytes) -> Path:
    """Write a damaged file, in its data set where it belongs to one; return what the door takes."""
    if seed.parent.name in ("faces", "labels"):
        whole = seed.parent if seed.parent.name == "faces" else seed.parent.parent
        shutil.rmtree(folder / "set", ignore_errors=True)
        shutil.copytree(whole, folder / "set")
        (folder / "set" / seed.relative_to(whole)).write_bytes(content)
        return folder / "set"
    path = folder / f"damaged{seed.suffix}"
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
        folder = Path(scratch)
        (folder / "seeds").mkdir()
        seeds = make_seeds(folder / "seeds")
        contents = {path: path.read_bytes() for paths in seeds.values() for path in paths}
        reader, end, doors = Reader(), time.monotonic() + 60 * chosen.minutes, list(seeds)
        with tqdm(unit="file") as bar:
            while time.monotonic() < end:
                door = doors[rng.integers(len(doors))]
                seed = seeds[door][rng.integers(len(seeds[door]))]
                other = contents[list(contents)[rng.integers(len(contents))]]
                content = damage(contents[seed], other, rng)
                answer, grown = reader.read(door, lay_out(folder, seed, content))
                counts[door, answer] += 1
                most[door] = max(most[door], grown)
                if answer not in ("read", "refused"):
                    chosen.kept.mkdir(parents=True, exist_ok=True)
                    name = answer.replace(": ", "_")
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
