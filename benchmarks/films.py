"""Swap in a film of rendered people whose every frame's truth is known.

    python benchmarks/films.py --family e4s

Two people side by side; a cut after which they have changed sides; one of them away for half a second; a second of
variable frame rate; three frames of motion blur; a beep at the cut. Prints which frames swapped whom they should,
seconds a frame by stage, how steady the swap is (with and without smoothing in time), and by how much sound and
picture are apart.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from PIL import Image

from swaplib import families, synthetic, video
from swaplib.faces import Faces, from_uint8, to_uint8
from swaplib.metrics.temporal import measure_flicker
from swaplib.video import files, looking, swapping

RATE = 48_000  # samples of sound a second


def make_scenes(seconds: float, fps: int, size: int, seed: int) -> tuple[dict, list[tuple[int | None, int | None]]]:
    """Render the people and lay out who is left and right in each frame."""
    people = {k: synthetic.render_clip(seconds, seed=seed, number=number, size=size, fps=fps, jobs=2)
              for k, number in enumerate((0, 2))}  # fmt: skip
    count = len(people[0])
    away = range(count // 4, count // 4 + fps // 2)
    return people, [(None if t in away else 0, 1) if t < count // 2 else (1, 0) for t in range(count)]


def compose(people: dict[int, Faces], sides: list, blurred: range) -> list[np.ndarray]:
    pictures = {k: to_uint8(faces.images) for k, faces in people.items()}
    wall = np.full_like(pictures[0][0], 90)
    frames = [np.concatenate([wall if k is None else pictures[k][t] for k in row], 1) for t, row in enumerate(sides)]
    kernel = np.full((1, frames[0].shape[0] // 3), 1 / (frames[0].shape[0] // 3))
    return [cv2.filter2D(frame, -1, kernel) if t in blurred else frame for t, frame in enumerate(frames)]


def write_film(path: Path, frames: list[np.ndarray], times: list[Fraction], beep: Fraction) -> None:
    """Write the film with a sine that sets in at `beep`."""
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "sound.mkv"
        at = np.arange(round((times[-1] + 1) * RATE))
        wave = np.where(at >= beep * RATE, 0.5 * np.sin(2 * np.pi * 1000 * at / RATE), 0).astype(np.float32)
        with av.open(str(sound), "w") as out:
            voice, picture = out.add_stream("aac", rate=RATE, layout="mono"), out.add_stream("libx264", rate=10)
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
            frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            still = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))
            out.mux([*picture.encode(still), *picture.encode(None), *voice.encode(frame), *voice.encode(None)])
        files.write(path, frames, 10, like=sound, times=times)


def hear(path: Path) -> float:
    """Return when the sine sets in, in seconds."""
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            loud = np.abs(frame.to_ndarray()).max(0) > 0.1
            if loud.any():
                return float(frame.pts * frame.time_base) + np.argmax(loud) / frame.sample_rate
    return float("nan")


@contextmanager
def timed(seconds: dict[str, float]):
    """Measure the stages of `video.swap`."""
    kept = []

    def measure(holder, name: str, stage: str) -> None:
        function = getattr(holder, name)
        kept.append((holder, name, function))

        def run(*arguments, **options):
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                seconds[stage] = seconds.get(stage, 0) + time.perf_counter() - start

        setattr(holder, name, run)

    measure(looking, "look_through", "find")
    measure(swapping._Job, "bridge", "bridge")
    measure(swapping._Job, "swap", "swap")
    measure(files, "write", "paste back and write")
    try:
        yield
    finally:
        for holder, name, function in kept:
            setattr(holder, name, function)


def main(family: str, preset: str, seconds: float, fps: int, size: int, seed: int, folder: Path) -> None:
    os.environ["SWAPLIB_CACHE"] = str(folder / "cache")  # the first run finds faces itself, the second one's are kept
    people, sides = make_scenes(seconds, fps, size, seed)
    count = len(sides)
    blurred = range(count // 8, count // 8 + 3)
    frames = compose(people, sides, blurred)
    lengths = [Fraction(1, fps) if t < count - fps else Fraction(3, 2 * fps) for t in range(count)]
    times = [sum(lengths[:t], Fraction(0)) for t in range(count)]
    film, out = folder / "film.mp4", folder / "out.mp4"
    write_film(film, frames, times, times[count // 2])
    source = synthetic.render_faces(1, seed=seed + 1, size=size)
    Image.fromarray(to_uint8(people[0].images)[count - 1]).save(folder / "who.png")
    system = families.load(family, preset)
    before = np.stack(list(files.frames(film))).astype(int)
    truth = synthetic.true_swap(source[[0] * count], people[0])
    for sigma in (0.0, 1.5):
        spent: dict[str, float] = {}
        with timed(spent):
            notes = video.swap(system, to_uint8(source.images)[0], film, out, face=folder / "who.png", sigma=sigma,
                               progress=False)  # fmt: skip
        after = np.stack(list(files.frames(out)))
        change = np.abs(after - before).max(-1) > 12
        halves = change[:, :, :size].sum((1, 2)) > 0.01 * size**2, change[:, :, size:].sum((1, 2)) > 0.01 * size**2
        wanted = [row.index(0) if 0 in row else None for row in sides]
        right = [(bool(halves[0][t]), bool(halves[1][t])) == (side == 0, side == 1) for t, side in enumerate(wanted)]
        shown = [t for t in range(count) if wanted[t] is not None and t not in blurred]
        own = [after[t][:, wanted[t] * size : (wanted[t] + 1) * size] for t in shown]
        runs = np.split(
            np.arange(len(shown)), 1 + np.flatnonzero((np.diff(shown) > 1) | np.diff([wanted[t] for t in shown]))
        )
        swaps, truths = from_uint8(np.stack(own)), truth.images[shown]
        flicker = torch.cat([measure_flicker(swaps[run], truths[run]) for run in runs if len(run) > 1]).mean()
        targets = people[0].images[shown]
        still = torch.cat([measure_flicker(targets[run], truths[run]) for run in runs if len(run) > 1]).mean()
        print(f"{family}, {preset}, {count} frames of {frames[0].shape[1]} x {frames[0].shape[0]}, sigma {sigma}")
        print(
            f"  {np.mean(right):.0%} of the frames swapped whom they should; wrong: {np.flatnonzero(~np.array(right))}"
        )
        print("  seconds a frame: " + ", ".join(f"{stage} {used / count:.3f}" for stage, used in spent.items()))
        print(f"  flicker {1000 * flicker:.2f} thousandths (the target itself {1000 * still:.2f})")
        found = [moment for _, moment in files.read(out)]
        late = max(abs(float(one - other)) for one, other in zip(found, times, strict=True))
        print(f"  frames off their times by {1000 * late:.1f} ms at most; sound to picture at the cut: "
              f"{1000 * (hear(out) - float(found[count // 2])):+.1f} ms")  # fmt: skip
        print("  " + "; ".join(notes))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", default="landmarks")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--fps", type=int, default=12)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--seed", type=int, default=0)
    choice = vars(parser.parse_args())
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        main(**choice, folder=Path(place))
