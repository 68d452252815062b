"""Measure the rendered faces with a judge from outside.

    python benchmarks/faces.py

dlib's points helped to choose some conventions of the landmarks (see HEAD.md), so that figure is not quite independent;
nothing was fitted to its detector or descriptor. Prints: how many faces dlib finds, how far its points lie from the
known ones, how well its descriptor tells people apart, whether a true swap is nearer its source, how many pictures a
second are rendered, on one and on two processes, and what the cache saves.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from swaplib import cache, photos, synthetic
from swaplib.faces import LANDMARK_GROUPS, Faces, to_uint8
from swaplib.synthetic import sample_factors


def find(faces: Faces) -> np.ndarray:
    """Return dlib's landmarks (B, 68, 2) of the face nearest the known one; NaN where there is none."""
    out = np.full((len(faces), 68, 2), np.nan)
    known = faces.landmarks.numpy()
    for k, picture in enumerate(to_uint8(faces.images)):
        centre = known[k].mean(0)
        for face in photos.detect(picture):
            if np.linalg.norm(face.landmarks.mean(0) - centre) < 0.25 * faces.size[0]:
                out[k] = face.landmarks
    return out


def landmark_errors(found: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return distances (B, 68) in units of the distance between the outer corners of the eyes."""
    apart = np.linalg.norm(known[:, 36] - known[:, 45], axis=-1)
    return np.linalg.norm(found - known, axis=-1) / apart[:, None]


def agreement(count: int, seed: int, world: str, size: int) -> None:
    faces = synthetic.render_faces(count, seed=seed, world=world, size=size, jobs=2)
    yaw = synthetic.column(faces.factors, "pose", "yaw").abs().numpy()
    frontal = yaw <= 25
    found = find(faces)
    seen = np.isfinite(found[:, 0, 0])
    errors = landmark_errors(found, faces.landmarks.numpy())[seen]
    print(
        f"{world}, {size} px: dlib finds {seen.mean():.1%} of {count},"
        f" {seen[frontal].mean():.1%} of the {frontal.sum()} with |yaw| <= 25°"
    )
    near = errors[frontal[seen]]
    groups = ", ".join(f"{name} {np.median(near[:, part].mean(1)):.3f}" for name, part in LANDMARK_GROUPS.items())
    print(f"  landmark error / outer eye distance, |yaw| <= 25°: median {np.median(near.mean(1)):.4f} ({groups})")


def identities(people: int, views: int, seed: int, world: str, size: int) -> None:
    person = sample_factors(people, seed=seed, world=world)
    shots = [sample_factors(people, seed=seed + 1 + view, world=world) for view in range(views)]
    rendered = []
    for shot in shots:
        mixed = synthetic.swap_identity(person, shot)
        rendered.append(synthetic.render(mixed, size))
    codes = np.stack([photos.describe(faces, detect_faces=True).numpy() for faces in rendered], 1)
    codes = codes.reshape(-1, 128)
    names = np.repeat(np.arange(people), views)
    seen = np.isfinite(codes[:, 0])
    codes, names = codes[seen], names[seen]
    distance = ((codes[:, None] - codes[None]) ** 2).sum(-1)
    upper = np.triu_indices(len(codes), 1)
    same = (names[:, None] == names[None])[upper]
    auc, apart = roc_auc_score(same, -distance[upper]), distance[upper]
    print(
        f"{world}: dlib's descriptor, {people} people in {views} shots ({seen.mean():.1%} found): AUC {auc:.4f},"
        f" squared distance same {apart[same].mean():.3f}, different {apart[~same].mean():.3f}"
    )


def true_swaps(pairs: int, seed: int, world: str, size: int) -> None:
    source = synthetic.render_faces(pairs, seed=seed, world=world, size=size, jobs=2)
    target = synthetic.render_faces(pairs, seed=seed, start=pairs, world=world, size=size, jobs=2)
    for surround in ("rendered", "target"):
        swap = synthetic.true_swap(source, target, surround)
        codes = [photos.describe(faces).numpy() for faces in (swap, source, target)]
        to_source, to_target = (((codes[0] - other) ** 2).sum(-1) for other in codes[1:])
        nearer = (to_source < to_target).mean()
        print(
            f"{world}: true swap ({surround}) nearer its source for {nearer:.1%} of {pairs}"
            f" pairs, squared distance to source {to_source.mean():.3f}, to target {to_target.mean():.3f}"
        )


def speed(world: str) -> None:
    """Print pictures a second with 2 x 2 samples, the best of three runs, and draws of factors alone."""
    for size, count in ((64, 96), (128, 96), (256, 48), (512, 16)):
        rates = []
        for jobs in (1, 2):
            synthetic.render_faces(
                8 * jobs, size=size, world=world, jobs=jobs, keep=False
            )  # start the workers, load the kernels
            options = {"size": size, "world": world, "jobs": jobs, "keep": False}
            rates.append(count / min(measure(synthetic.render_faces, count, **options) for _ in range(3)))
        print(f"{world}, {size} px, 2 x 2 samples: {rates[0]:.1f} pictures/s, two processes {rates[1]:.1f}")
    draws = 200 / min(measure(sample_factors, 200, world=world) for _ in range(3))
    print(f"{world}: {draws:.0f} draws of factors/s")


def kept(world: str, count: int = 1000) -> None:
    """Print how long faces take that are rendered and kept, and that are found again, and their bytes."""
    before = os.environ.get("SWAPLIB_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SWAPLIB_CACHE"] = folder
        synthetic.render_faces(8, seed=1, world=world, keep=False)  # loads the kernels
        seconds = [measure(synthetic.render_faces, count, world=world) for _ in range(2)]
        found, size = cache.usage()
    os.environ.pop("SWAPLIB_CACHE") if before is None else os.environ.update(SWAPLIB_CACHE=before)
    print(
        f"{world}: {count:,} faces at 128 px in {seconds[0]:.1f} s, again in {seconds[1]:.1f} s; "
        f"{found:,} results, {size / 1e6:.0f} MB"
    )


def measure(function, *arguments, **options) -> float:
    """Return how many seconds a call takes."""
    start = time.perf_counter()
    function(*arguments, **options)
    return time.perf_counter() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--only", choices=("agreement", "identities", "swaps", "speed", "kept"))
    choice = parser.parse_args()
    torch.set_num_threads(1)
    for world in ("calm", "wild"):
        if choice.only in (None, "agreement"):
            agreement(choice.count, choice.seed, world, 256)
        if choice.only in (None, "identities"):
            identities(60, 4, choice.seed, world, 256)
        if choice.only in (None, "swaps"):
            true_swaps(choice.count, choice.seed, world, 256)
        if choice.only in (None, "speed"):
            speed(world)
        if choice.only in (None, "kept"):
            kept(world)
