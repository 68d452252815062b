"""The lessons' exercises: `check` says in one line whether an answer is right, nearly, or not yet.

    exercise.check("20/whose_hair", amounts, family=family)

Each check is a pure function of the answer and of what the lesson has in hand, so that what depends on weights or on
measurements is worked out from the same objects. `kind` says what is asked for: "code" (a function that is tried on
small random numbers), "predict" (a number, before anything runs), "find" (something to be found with the lesson's
objects). Worked solutions, which the tests run, lie in notebooks/solutions/.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from swaplib import synthetic
from swaplib.faces import region
from swaplib.judges.identity import contrastive_loss, identity_loss
from swaplib.latent import inversion, layers
from swaplib.metrics import image, temporal
from swaplib.networks.codes import kl_divergence, slerp
from swaplib.studio import masks, texture_part
from swaplib.workbook.grading import (
    Reply,
    judge_amounts,
    judge_choice,
    judge_code,
    judge_count,
    judge_number,
    judge_tensor,
)

__all__ = ("CHECKS", "Check", "check", "grade")

Kind = Literal["code", "predict", "find"]


@dataclass(frozen=True)
class Check:
    """What an exercise asks for, and the function that judges an answer."""

    kind: Kind
    judge: Callable[..., Reply]


CHECKS: dict[str, Check] = {}
"""Lesson and name, such as "20/whose_hair" -> its check."""


def check(name: str, answer: Any, **given: Any) -> None:
    """Print what an answer is worth; an answer that is still `...` is no error.

    name: lesson and exercise, such as "20/whose_hair". given: what the lesson has in hand, by the check's own names.
    """
    print(f"{name} · {grade(name, answer, **given)}")


def grade(name: str, answer: Any, **given: Any) -> Reply:
    """Judge an answer; raise ValueError for an exercise that doesn't exist."""
    if name not in CHECKS:
        known = [one for one in CHECKS if one.split("/")[0] == name.split("/")[0]] or list(CHECKS)
        raise ValueError(f"there is no exercise {name!r}: choose from {', '.join(known)}")
    return Reply("not answered yet") if answer is ... else CHECKS[name].judge(answer, **given)


def _exercise(name: str, kind: Kind) -> Callable[[Callable[..., Reply]], Callable[..., Reply]]:
    def register(judge: Callable[..., Reply]) -> Callable[..., Reply]:
        CHECKS[name] = Check(kind, judge)
        return judge

    return register


def _draw(*shape: int, seed: int = 0, low: float = -1.0) -> torch.Tensor:
    """Draw numbers between `low` and 1, the same ones every time."""
    return low + (1 - low) * torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def _draw_units(count: int, dimensions: int, seed: int) -> torch.Tensor:
    """Draw unit vectors (count, dimensions)."""
    return F.normalize(_draw(count, dimensions, seed=seed), dim=1)


def _names(family) -> list[str]:
    return [part.name for part in family.parts]


# ---------------------------------------------------------------------------------------- 00 start, 01 sliders


@_exercise("00/nothing", "find")
def _(answer, family, source, target) -> Reply:
    hint = "an amount of 1 takes a part from the source; which amount leaves it the target's?"
    reply = judge_amounts(answer, {}, _names(family), hint)
    if reply.grade != "right":
        return reply
    off = (family.swap(source, target, answer) - target.images).abs().mean().item()
    return Reply("right", f"{off:.4f} of a range of 2")


@_exercise("00/who", "predict")
def _(answer, faces) -> Reply:
    first, second, third = (faces[k].factors for k in range(3))
    last = synthetic.swap_identity(synthetic.swap_identity(first, second), third)
    distances = [(last["skin"] - one["skin"]).abs().sum().item() for one in (first, second, third)]
    hint = "follow the identity through both swaps: each time it is the source's"
    return judge_count(answer, distances.index(min(distances)), hint)


@_exercise("00/mix", "code")
def _(answer) -> Reply:
    shapes = ((2, 5), (4,), (2, 3, 4, 5), (1, 2, 3))
    trials = [
        (_draw(*shape, seed=k), _draw(*shape, seed=k + 10), amount)
        for k, (shape, amount) in enumerate(zip(shapes, (0.0, 0.3, 0.7, 1.0), strict=True))
    ]
    hint = "at 0 the result is the target, at 1 the source, and in between it goes straight"
    near = {"that goes from the source to the target": torch.lerp}
    return judge_code(answer, lambda source, target, amount: torch.lerp(target, source, amount), trials, hint, near)


@_exercise("01/half", "predict")
def _(answer) -> Reply:
    return judge_number(answer, 0.5, 1e-6, "`along` multiplies every amount: what is half of 1?")


@_exercise("01/turn", "code")
def _(answer) -> Reply:
    names = ["texture", "mouth", "shape"]
    trials = [(dict(zip(names, amounts)), names) for amounts in ((1.0,), (0.2, 0.7, 0.5), ())]  # noqa: B905

    def numbers(amounts, names):
        """Turn the learner's dictionary into a row of numbers, in the parts' order."""
        turned = answer(amounts, names)
        return turned if turned is None or turned is ... else torch.tensor([float(turned[name]) for name in names])

    def model(amounts, names):
        return torch.tensor([1 - amounts.get(name, 0.0) for name in names])

    hint = "what came from the source before comes from the target now: an amount of 0.2 becomes which?"
    return judge_code(numbers, model, trials, hint) if callable(answer) else judge_code(answer, model, trials, hint)


@_exercise("01/state", "find")
def _(answer, renderer, state, secret) -> Reply:
    """Compare the picture that a learner's amounts make with the secret one."""
    if not isinstance(answer, dict) or any(name not in state.amounts for name in answer):
        return Reply("not yet", f"give amounts by the parts' names: {', '.join(state.amounts)}")
    shown = renderer.render(type(state)(state.source, state.target, answer)).astype(float)
    off = np.abs(shown - secret.astype(float)).mean()
    if off < 1:
        return Reply("right", f"{off:.2f} grey levels")
    near = Reply("nearly", f"{off:.1f} grey levels are left")
    return (
        near if off < 5 else Reply("not yet", f"{off:.0f} grey levels off: move one slider at a time, the last first")
    )


# ---------------------------------------------------------------------------------------- 10 faces, 11 judges


@_exercise("10/larger", "predict")
def _(answer) -> Reply:
    return judge_number(answer, 1.3 * 1.4, 0.05, "width grows by one factor and height by the other: and the area?")


@_exercise("10/share", "code")
def _(answer) -> Reply:
    labels = [(4 * _draw(2, 6, 6, seed=k, low=0)).long() + 10 for k in range(3)]  # some of them hair
    hint = "region(labels, name) is True where the name is: which share of a picture's pixels is that, in percent?"

    def model(labels, name):
        return 100 * region(labels, name).float().mean((1, 2))

    return judge_code(answer, model, [(one, "hair") for one in labels], hint)


@_exercise("10/mirror", "predict")
def _(answer) -> Reply:
    hint = "landmarks 36 to 41 are the right eye, 42 to 47 the left: which of those is an outer corner?"
    return judge_count(answer, 45, hint, {42: "that is the left eye's inner corner"})


@_exercise("11/guess", "predict")
def _(answer) -> Reply:
    wanted = contrastive_loss(torch.ones(32, 4) / 2, torch.arange(8).repeat_interleave(4)).item()
    hint = "all cosines are equal, so every exponential is, too: how many of them are in the denominator?"
    near = {math.log(28): "the positive itself is in the denominator, too"}
    return judge_number(answer, wanted, 0.02, hint, near=near)


@_exercise("11/fooled", "find")
def _(answer, answers) -> Reply:
    blind = answers.drop(columns=["shape", "skin"]).loc["dlib"]
    return judge_choice(answer, blind.idxmax(), blind.index, "look along the row of dlib for the largest number")


@_exercise("11/slerp", "code")
def _(answer) -> Reply:
    trials = [
        (_draw_units(3, 4, k), _draw_units(3, 4, k + 10), amount) for k, amount in enumerate((0.0, 0.3, 0.5, 1.0))
    ]
    hint = "with ω the angle between them: (sin((1 − t) ω) a + sin(t ω) b) / sin ω"

    near = {"that is the straight line, whose points are not unit vectors": torch.lerp}
    return judge_code(answer, slerp, trials, hint, near)


# ---------------------------------------------------------------------------------------- 20 to 25: the systems


@_exercise("20/whose_hair", "find")
def _(answer, family) -> Reply:
    hint = "print the parts' names: two of the four are the hair's"
    return judge_amounts(answer, {"hair": 1.0, "hair_attributes": 1.0}, _names(family), hint)


@_exercise("20/loss", "code")
def _(answer) -> Reply:
    trials = [(_draw(2, 3, 4, 5, seed=k), _draw(2, 3, 4, 5, seed=k + 10), (_draw(2, 1, 4, 5, seed=k + 20) > 0).float(),
               beta) for k, beta in enumerate((0.5, 0.2, 0.0))]  # fmt: skip
    hint = "the absolute difference, times 1 − β M, and the mean over everything"

    def model(images, truth, background, beta):
        return ((images - truth).abs() * (1 - beta * background)).mean()

    def normalised(images, truth, background, beta):
        return model(images, truth, background, beta) / (1 - beta * background).mean()

    near = {"that divides by the sum of the weights; the equation's mean divides by the count of numbers": normalised}
    return judge_code(answer, model, trials, hint, near)


@_exercise("20/nats", "predict")
def _(answer) -> Reply:
    wanted = kl_divergence(torch.zeros(1, 128), torch.full((1, 128), 2 * math.log(0.5))).item()
    hint = "σ² is a quarter, μ is 0, log is the natural one: put them into the formula, for one dimension, then for 128"
    near = {
        wanted / 128: "that is one dimension of the 128",
        2 * wanted: "the formula has ½ in front",
        64 * (0.5 - math.log(0.5) - 1): "σ is a half; the formula asks for σ²",
    }
    return judge_number(answer, wanted, 0.5, hint, " nats", near)


@_exercise("21/half_mouth", "find")
def _(answer, family) -> Reply:
    return judge_amounts(answer, {"mouth": 0.5}, _names(family), "parts that are left out stay the target's")


@_exercise("21/outside", "code")
def _(answer) -> Reply:
    trials = [(_draw(2, 3, 4, 4, seed=k), _draw(2, 3, 4, 4, seed=k + 10), _draw(2, 4, 4, seed=k + 20) > 0)
              for k in range(3)]  # fmt: skip
    hint = "mean over the channels first; then add up outside of the region, and divide by the number of pixels there"

    def model(before, after, region):
        return (after - before).abs().mean(1).mul(~region).sum((1, 2)) / (~region).sum((1, 2))

    return judge_code(answer, model, trials, hint)


@_exercise("21/cell", "predict")
def _(answer, config) -> Reply:
    hint = f"the grid is the picture halved: how often? (config.halvings = {config.halvings})"
    return judge_count(answer, 1 << config.halvings, hint)


@_exercise("22/trivial", "predict")
def _(answer, config) -> Reply:
    wanted = config.identity * identity_loss(*torch.eye(2)[:, None]).item()
    near = {0.0: "the change costs nothing, but the target isn't the source", 1.0: "mind the weight of the identity"}
    return judge_number(answer, wanted, 1e-3, "the change is nothing; the cosine of a right angle is 0", near=near)


@_exercise("22/loss", "code")
def _(answer) -> Reply:
    trials = [(_draw_units(3, 4, k), _draw_units(3, 4, k + 5), _draw(3, 3, 2, 2, seed=k), _draw(3, 3, 2, 2, seed=k + 9),
               *weights) for k, weights in enumerate(((4.0, 1.0), (1.0, 0.0), (0.0, 2.0)))]  # fmt: skip
    hint = "two losses, each with its weight, each a mean: over faces, and over faces, colours and pixels"

    def model(found, wanted, swapped, target, of_identity, of_change):
        return of_identity * identity_loss(found, wanted) + of_change * F.mse_loss(swapped, target)

    return judge_code(answer, model, trials, hint)


@_exercise("22/yourself", "find")
def _(answer, family, faces) -> Reply:
    wanted = 127.5 * (family.swap(faces, faces) - faces.images).abs().mean().item()
    near = {wanted / 127.5: "in the pictures' own range of 2, which is 255 grey levels", 2 * wanted: "twice too much"}
    hint = "swap the faces with themselves, and take the mean absolute difference"
    return judge_number(answer, wanted, max(0.05 * wanted, 0.05), hint, " grey levels", near)


@_exercise("23/codes", "predict")
def _(answer) -> Reply:
    hint = "two for each size: 4, 8, 16, … up to the picture's own"
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        return Reply("not yet", "give two numbers: (at 1024 px, at 256 px)")
    right = [one == 2 * (size.bit_length() - 2) for one, size in zip(answer, (1024, 256), strict=True)]
    if all(right):
        return Reply("right", "2 log2(size) − 2")
    return Reply("nearly", "one of the two is right") if any(right) else Reply("not yet", hint)


@_exercise("23/truncate", "code")
def _(answer) -> Reply:
    trials = [(_draw(3, 4, seed=k), _draw(4, seed=k + 10), psi) for k, psi in enumerate((0.0, 0.5, 1.0, 1.3))]
    hint = "at ψ = 0 everybody is the mean, at ψ = 1 nobody has moved"
    return judge_code(answer, lambda w, mean, psi: mean + psi * (w - mean), trials, hint)


@_exercise("23/halves", "find")
def _(answer, two) -> Reply:
    wanted = two[:1].clone()
    wanted[:, 1::2] = two[1:, 1::2]
    other = two[1:].clone()
    other[:, 1::2] = two[:1, 1::2]
    if isinstance(answer, torch.Tensor) and answer.shape == other.shape and torch.equal(answer, other):
        return Reply("nearly", "even and odd are exchanged")
    return judge_tensor(answer, wanted, "layers are counted from 0 along the second axis: [:, 1::2] are the odd ones")


@_exercise("24/silent", "predict")
def _(answer) -> Reply:
    hint = "the answer is half the target's code, so it is half of it away; and that is squared"
    return judge_number(answer, 0.25 * 2, 1e-3, hint)


@_exercise("24/colours", "find")
def _(answer, family) -> Reply:
    names = _names(family)
    return judge_amounts(answer, dict.fromkeys(names[-2:], 1.0), names, "the last two of family.parts, by their names")


@_exercise("24/partly", "code")
def _(answer) -> Reply:
    trials = [(_draw(2, 4, 3, seed=k), _draw(2, 4, 3, seed=k + 10), _draw(4, seed=k + 20, low=0)) for k in range(3)]
    hint = "each layer has an amount of its own: amounts[:, None] stretches them over the codes' numbers"
    return judge_code(answer, lambda mixed, target, amounts: torch.lerp(target, mixed, amounts[:, None]), trials, hint)


@_exercise("25/holes", "predict")
def _(answer) -> Reply:
    hint = "a hole is where neither face has anything to show: where is that, if both are one face?"
    return judge_count(answer, 0, hint)


@_exercise("25/lips", "find")
def _(answer, wanted) -> Reply:
    names = list(wanted)
    right = wanted | {"lip": 0.0}
    return judge_amounts(answer, right, names, "everything that a swap takes, but an amount of 0 for one region")


@_exercise("25/textures", "code")
def _(answer) -> Reply:
    trials = [
        (_draw(2, 5, 3, seed=k), _draw(2, 5, 3, seed=k + 10), chosen) for k, chosen in enumerate(([1, 3], [], [0]))
    ]
    hint = "copy the target's textures, then put the source's into the chosen places of the second axis"

    def model(source, target, chosen):
        mixed = target.clone()
        mixed[:, chosen] = source[:, chosen]
        return mixed

    return judge_code(answer, model, trials, hint)


# ---------------------------------------------------------------------------------------- 30 to 32: analysis


@_exercise("30/necessary", "predict")
def _(answer) -> Reply:
    return judge_number(answer, 0.0, 1e-6, "without a group that is necessary, how much of the change is left?")


@_exercise("30/sum", "find")
def _(answer, table) -> Reply:
    wanted = layers.make_heat_table(table)[0]["pixels"].sum()
    hint = 'layers.make_heat_table(tables["rsgan"]) returns shares and errors: add up the column "pixels" of the shares'
    return judge_number(answer, wanted, 0.02, hint)


@_exercise("30/share", "code")
def _(answer) -> Reply:
    trials = [(_draw(8, seed=k, low=0), _draw(8, seed=k + 10, low=0.5)) for k in range(3)]
    hint = "take both means first, then their ratio"

    def model(part, whole):
        return part.mean() / whole.mean()

    def mean_ratio(part, whole):
        return (part / whole).mean()

    near = {
        "that is the mean of the ratios, in which a pair that hardly changes weighs most": mean_ratio,
        "that is the whole exchange's mean as a share of the group's": lambda part, whole: whole.mean() / part.mean(),
    }
    return judge_code(answer, model, trials, hint, near)


@_exercise("31/length", "predict")
def _(answer) -> Reply:
    near = {0.3**0.5: "the length; its square is asked for", 1 - 0.7**0.5: "the others' is squared already"}
    return judge_number(answer, 0.3, 1e-3, "the squares of a unit vector's numbers add up to 1", near=near)


@_exercise("31/free", "code")
def _(answer) -> Reply:
    trials = [(_draw_units(1, 5, k)[0], _draw_units(1, 5, k + 10)[0]) for k in range(3)]
    hint = "take away what the direction has of the other, (a · b) b, and bring the rest to length 1"

    def model(direction, other):
        return F.normalize(direction - (direction @ other) * other, dim=0)

    def unscaled(direction, other):
        return direction - (direction @ other) * other

    return judge_code(answer, model, trials, hint, {"what is left is not a unit vector yet": unscaled})


@_exercise("31/boundary", "find")
def _(answer, direction, codes) -> Reply:
    wanted = -float(direction.distance(codes)[0]) / direction.scale
    hint = "direction.distance(codes) says how far each face is from the plane; direction.scale is one deviation"
    return judge_number(answer, wanted, max(0.02, 0.02 * abs(wanted)), hint, " deviations")


@_exercise("32/numbers", "predict")
def _(answer, generator) -> Reply:
    return judge_count(answer, generator.network.layers, "W+ has a code for each layer: two for each size from 4 px on")


@_exercise("32/own", "find")
def _(answer, generator, encoder, drawn, held_out) -> Reply:
    own = inversion.encode(generator, drawn, encoder).quality["error"].mean().item()
    wanted = "smaller" if own < held_out else "larger"
    reply = judge_choice(answer, wanted, ("smaller", "larger"), "invert `drawn` by inversion.encode, and compare")
    return Reply("right", f"{own:.3f} beside {held_out:.3f}") if reply.grade == "right" else reply


@_exercise("32/into_w", "code")
def _(answer) -> Reply:
    trials = [(_draw(2, 4, 3, seed=k),) for k in range(3)]
    hint = "the mean over the layers, once more for each layer: keepdim=True, then expand_as(codes)"
    return judge_code(answer, lambda codes: codes.mean(1, keepdim=True).expand_as(codes), trials, hint)


# ---------------------------------------------------------------------------------------- 41, 50, 60, 61, 90


@_exercise("41/whose", "find")
def _(answer, family) -> Reply:
    hint = "labels mean the person's left, this family's parts the picture's: on which side is a sitter's left eye?"
    return judge_choice(answer, texture_part(family, "left_eye"), ("left_eye", "right_eye"), hint)


@_exercise("41/moustache", "code")
def _(answer) -> Reply:
    canvases = [np.zeros((20, 20), np.uint8), np.ones((32, 32), np.uint8)]

    def model(mask):
        size = len(mask)
        return masks.stroke(mask, "hair", [(0.4 * size, 0.6 * size), (0.6 * size, 0.6 * size)], size / 10)

    hint = "masks.stroke(mask, region, points, width): points are pixels (x, y), and so is the width"
    return judge_code(answer, model, [(one,) for one in canvases], hint)


@_exercise("41/back", "predict")
def _(answer, mask) -> Reply:
    tried = masks.Canvas(mask).grow("hair").undo().move("nose", 1, 0).move("nose", 1, 0)
    hint = "what is undone is no longer in the list, and moves of one region that follow each other are one"
    return judge_count(answer, len(tried.edits), hint)


@_exercise("50/pairs", "predict")
def _(answer) -> Reply:
    hint = "an interval's width goes with one over the square root of the number of pairs"
    return judge_count(answer, 4, hint, {2: "that is for 1 / n; the width goes with 1 / √n"})


@_exercise("50/fooled", "find")
def _(answer, seen) -> Reply:
    harmless = seen.loc[["shifted 2 px", "brighter", "noisy"], "psnr"]
    hint = "compare the column of PSNR with the pictures: which is lower than `blurred`, and still shows the person?"
    return judge_choice(answer, harmless.idxmin(), seen.index, hint)


@_exercise("50/psnr", "code")
def _(answer) -> Reply:
    trials = [(_draw(2, 3, 4, 4, seed=k), _draw(2, 3, 4, 4, seed=k + 10)) for k in range(3)]
    hint = "−10 log10 of the mean squared error, picture by picture, for pixels from 0 to 1"

    def unscaled(images, truth):
        return -10 * torch.log10((images - truth).square().mean((1, 2, 3)))

    near = {"our pixels go from −1 to 1: their range is 2, and PSNR is for a range of 1": unscaled}
    return judge_code(answer, image.psnr, trials, hint, near)


@_exercise("60/slow", "find")
def _(answer) -> Reply:
    hint = "with half as many frames, neighbours lie farther apart in time: which measure would not notice?"
    near = {"flicker": "that one does; and the other?", "warping": "that one does; and the other?"}
    return judge_choice(answer, "both", ("flicker", "warping", "both", "neither"), hint, near)


@_exercise("60/noise", "predict")
def _(answer) -> Reply:
    wanted = 0.01 * math.sqrt(2) * math.sqrt(2 / math.pi)
    hint = "the difference of two frames' noise has the standard deviation σ √2"
    near = {0.01 * math.sqrt(2 / math.pi): "both frames are noisy, and their difference is noisier than either"}
    return judge_number(answer, wanted, 3e-4, hint, near=near)


@_exercise("60/flicker", "code")
def _(answer) -> Reply:
    trials = [(_draw(4, 3, 5, 5, seed=k), _draw(4, 3, 5, 5, seed=k + 10)) for k in range(3)]
    hint = "the error is swap − truth; take its difference from frame to frame, absolute, and the mean of each"

    def unscaled(swaps, truths):
        return (swaps - truths).diff(dim=0).abs().mean((1, 2, 3))

    near = {"twice too large: of a range of 1, where our pixels go from −1 to 1": unscaled}
    return judge_code(answer, temporal.measure_flicker, trials, hint, near)


@_exercise("61/fog", "predict")
def _(answer) -> Reply:
    hint = "what is left behind a length δ of the density σ is exp(−σ δ)"
    near = {1 - math.exp(-1): "that is what the fog shows of itself; and what lies behind it?"}
    return judge_number(answer, math.exp(-1), 0.005, hint, near=near)


@_exercise("61/depth", "code")
def _(answer) -> Reply:
    trials = [(F.normalize(_draw(3, 5, seed=k, low=0), 1, dim=1) * share, _draw(3, 5, seed=k + 10, low=0).sort(1)[0],
               1.5) for k, share in enumerate((0.9, 0.4, 1.0))]  # fmt: skip
    hint = "each sample's weight times its distance, summed up, and what the weights leave times `end`"

    def model(weights, distances, end):
        return (weights * distances).sum(1) + (1 - weights.sum(1)) * end

    def hollow(weights, distances, end):
        return (weights * distances).sum(1)

    return judge_code(answer, model, trials, hint, {"and what the ray sees behind all samples?": hollow})


@_exercise("61/side", "find")
def _(answer, codes) -> Reply:
    wanted, other = codes["view"].clone(), codes["view"].clone()
    wanted[:, 1], other[:, 1] = -20, 20
    if judge_tensor(answer, other, "").grade == "right":
        return Reply("nearly", "that is the other side: the camera goes to the left, so the head turns to its right")
    return judge_tensor(answer, wanted, "column 1 is the head's yaw, in degrees to its left; leave the others alone")


@_exercise("90/seed", "find")
def _(answer, manifest) -> Reply:
    hint = "manifest[name] is a dictionary: one of its keys is what you look for"
    return judge_count(answer, int(manifest["start/first_swap"]["seed"]), hint)


@_exercise("90/pixels", "predict")
def _(answer) -> Reply:
    return judge_number(answer, 1600, 10, "inches times pixels for each inch", " pixels")


@_exercise("90/vector", "code")
def _(answer) -> Reply:
    small = {"a": {"files": ["a.png", "a.pdf"]}, "b": {"files": ["b.jpg"]}, "c": {"files": ["c.pdf", "c.png"]}}
    trials = [(small, ending) for ending in (".pdf", ".jpg", ".csv")]
    hint = "each entry has a list `files`: count the names with that ending, over all entries"

    def model(manifest, ending):
        return sum(file.endswith(ending) for entry in manifest.values() for file in entry["files"])

    return judge_code(answer, model, trials, hint)
