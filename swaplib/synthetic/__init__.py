"""Rendered faces with exact ground truth: every factor known, and the true swap of any two of them.

>>> faces = synthetic.render_faces(8, seed=0, world="calm", size=128)
>>> truth = synthetic.true_swap(source=faces[[0]], target=faces[[1]])
>>> frames = synthetic.render_clip(seconds=2, seed=0)
>>> truths = synthetic.true_swap(source=faces[[0] * len(frames)], target=frames)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import joblib
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from swaplib.faces import Faces, from_uint8, region, to_uint8
from swaplib.synthetic.celeba import attributes
from swaplib.synthetic.factors import (
    CALM,
    IDENTITY,
    MOVING,
    WILD,
    WORLDS,
    Factors,
    Ties,
    World,
    column,
    columns,
    count_factors,
    flatten_factors,
    moving_factors,
    sample_factors,
    swap_identity,
)
from swaplib.synthetic.renderer import SIZES, render
from swaplib.synthetic.threads import one_thread
from swaplib.synthetic.version import RENDERER

__all__ = [
    "CALM",
    "FACE_REGION",
    "HELD_OUT",
    "IDENTITY",
    "MOVING",
    "RENDERER",
    "WILD",
    "WORLDS",
    "Factors",
    "Ties",
    "World",
    "attributes",
    "column",
    "columns",
    "count_factors",
    "flatten_factors",
    "moving_factors",
    "render",
    "render_clip",
    "render_faces",
    "sample_factors",
    "swap_identity",
    "true_swap",
]

HELD_OUT = 10_000_000
"""Number of the first face in a series that measurements use: no training set reaches that far."""

# The classes that show who somebody is.
FACE_REGION = (
    "skin", "nose", "left_eye", "right_eye", "left_brow", "right_brow", "mouth", "upper_lip", "lower_lip",
)  # fmt: skip


def render_faces(
    count: int,
    seed: int = 0,
    start: int = 0,
    world: str | World = "calm",
    size: int = 128,
    supersample: int = 2,
    jobs: int = 1,
    ties: Ties | None = None,
    progress: bool = False,
    shots: int = 1,
    relatives: int = 1,
    crossed: int = 1,
    keep: bool = True,
) -> Faces:
    """Render faces number start … start+count−1 of the series `seed`; face k is the same whatever else is asked for.

    jobs: processes to render with (−1: one for each core). The identity number of face k is k.
    shots: pictures of each person: faces n, n+1 … n+shots−1, n a multiple of `shots`, show person n.
    relatives: that many people in a row share the skin, eyes, brows and beard of the first of them; only the shape of
        the head tells them apart.
    crossed: that many people in a row are shown in the same shots: picture k of one is the true swap of him onto
        picture k of any other.
    keep: as in `render`.
    """
    chunks = [range(first, min(first + 8, start + count)) for first in range(start, start + count, 8)]
    work = (
        joblib.delayed(_render_range)(chunk, seed, world, size, supersample, ties, shots, relatives, crossed, keep)
        for chunk in chunks
    )
    if jobs == 1:
        results = (function(*arguments, **options) for function, arguments, options in work)
    else:
        results = joblib.Parallel(n_jobs=jobs, return_as="generator")(work)
    bar = tqdm(results, total=len(chunks), desc="rendering", unit="batch", disable=not progress)
    return Faces.cat(list(bar))


def _render_range(chunk: range, seed, world, size, supersample, ties, shots, relatives, crossed, keep) -> Faces:
    # Small tensors: a second thread per process costs far more in waiting than it brings.
    with one_thread():
        people = [number - number % shots for number in chunk]
        if shots * relatives * crossed == 1:
            factors = sample_factors(len(chunk), seed, chunk.start, world, ties)
        else:
            families = [number - number % (shots * relatives) for number in chunk]
            shown = [
                number - number % (shots * crossed) + number % shots if crossed > 1 else number for number in chunk
            ]
            drawn = {k: sample_factors(1, seed, k, world, ties) for k in {*people, *families, *shown}}
            factors = swap_identity(_gather(drawn, people), _gather(drawn, shown))
            factors["skin"] = _gather(drawn, families)["skin"]
        rendered = render(factors, size, supersample, keep)
    return replace(rendered, identity=torch.tensor(people))


def _gather(drawn: dict[int, Factors], numbers: list[int]) -> Factors:
    return {group: torch.cat([drawn[k][group] for k in numbers]) for group in drawn[numbers[0]]}


def render_clip(
    seconds: float = 4.0,
    seed: int = 0,
    number: int = 0,
    world: str | World = "calm",
    size: int = 128,
    fps: float = 25.0,
    pace: float = 0.8,
    supersample: int = 2,
    jobs: int = 1,
    progress: bool = False,
) -> Faces:
    """Render a clip of face `number` of the series `seed`: round(seconds · fps) frames of one shot, in order.

    Pose, expression and light pass from one drawn moment to the next in `pace` seconds each, eased so that neither
    they nor their speeds jump; the first moment is the face's own. All else is fixed, including the picture's grain.
    seconds: 2 to 10. `true_swap` gives the true swap of every frame. Raises ValueError for values out of range.
    """
    if not 2 <= seconds <= 10 or fps < 1 or pace <= 0:
        raise ValueError(
            f"a clip lasts 2 to 10 seconds, has a frame a second or more and a pace above 0, not {seconds} s, "
            f"{fps} frames a second and {pace} s"
        )
    factors = moving_factors(round(seconds * fps), fps * pace, seed, number, world)
    chunks = [slice(first, first + 8) for first in range(0, len(factors["pose"]), 8)]
    work = (joblib.delayed(_render_frames)(factors, chunk, size, supersample) for chunk in chunks)
    parts = joblib.Parallel(n_jobs=jobs, return_as="generator")(work)
    frames = Faces.cat(list(tqdm(parts, total=len(chunks), desc="rendering", unit="batch", disable=not progress)))
    return replace(frames, identity=torch.full((len(frames),), number))


def _render_frames(factors: Factors, chunk: slice, size: int, supersample: int) -> Faces:
    with one_thread():
        return render({group: values[chunk] for group, values in factors.items()}, size, supersample)


def true_swap(
    source: Faces,
    target: Faces,
    surround: str = "rendered",
    supersample: int = 2,
    groups: Sequence[str] = IDENTITY,
    moved: Sequence[str] = (),
) -> Faces:
    """Render the picture that a perfect swap would give: the source's person in the target's shot.

    The person is head shape, skin, eyes, brows and beard; hair, glasses, expression, pose, light, background, clothes
    and camera are the target's. surround: "rendered" keeps the picture as rendered, where hair and neck sit on the
    source's skull; "target" puts the swapped face region, with a soft edge, into the target's own pixels.
    groups: which parts of the person are transferred: "shape", the head's, and "skin", with eyes, brows and beard.
    moved: what of the source's shot comes along, of "expression", "pose" and "light": some systems promise that.
    Both must be rendered faces of one size. Raises ValueError otherwise.
    """
    if source.factors is None or target.factors is None:
        raise ValueError(
            "a true swap needs rendered faces, whose factors are known: make them with synthetic.render_faces"
        )
    if surround not in ("rendered", "target"):
        raise ValueError(f"surround must be 'rendered' or 'target', got {surround!r}")
    if len(source) != len(target) or source.size != target.size:
        raise ValueError(
            f"{len(source)} sources of {source.size} do not pair with {len(target)} targets of {target.size}"
        )
    if not set(groups) <= set(IDENTITY):
        raise ValueError(f"groups must be of {', '.join(IDENTITY)}, got {', '.join(groups)}")
    if not set(moved) <= set(MOVING):
        raise ValueError(f"moved must be of {', '.join(MOVING)}, got {', '.join(moved)}")
    factors = swap_identity(source.factors, target.factors, (*groups, *moved))
    swapped = render(factors, max(SIZES[0], target.size[0]), supersample).to(target.images.device).resize(target.size)
    swapped = replace(swapped, identity=source.identity if set(groups) == set(IDENTITY) else None)
    return swapped if surround == "rendered" else _composite(swapped, target)


def _composite(swapped: Faces, target: Faces) -> Faces:
    """Put the swapped face region into the target's own picture; what lies behind lenses is part of the face."""
    shown = (*FACE_REGION, "eye_glasses")
    mask = (region(swapped.labels, *shown) | region(target.labels, *shown))[:, None].float()
    width = max(3, swapped.size[0] // 32 | 1)
    soft = F.avg_pool2d(mask, width, 1, width // 2, count_include_pad=False)
    same = (swapped.images == target.images).all(1, keepdim=True)
    images = torch.where(same, target.images, torch.lerp(target.images, swapped.images, soft))
    images = from_uint8(to_uint8(images)).to(images.device)  # 256 levels, as all that is rendered
    labels = torch.where(mask[:, 0] > 0, swapped.labels, target.labels)
    return replace(swapped, images=images, labels=labels)
