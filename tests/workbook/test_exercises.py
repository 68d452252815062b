"""Every exercise: its solution is right, a plausible wrong answer is not, and the lesson asks without telling."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

from swaplib.workbook import exercise, runner

SOLUTIONS = sorted((runner.root() / "notebooks" / "solutions").glob("*.ipynb"))

# What a learner may well write, as code that runs after the solution, among its names.
WRONG = {
    "00/nothing": '{"texture": 1.0}',
    "00/who": "1",
    "00/mix": "lambda source, target, amount: source + amount * (target - source)",
    "01/half": "1.0",
    "01/turn": "lambda amounts, names: {name: amounts.get(name, 0) for name in names}",
    "01/state": "{names[0]: 1.0}",
    "10/larger": "2.7",
    "10/share": "lambda labels, name: region(labels, name).float().mean((1, 2))",
    "10/mirror": "36",
    "11/guess": "0.0",
    "11/fooled": '"light"',
    "11/slerp": "lambda a, b, amount: a + amount * (b - a)",
    "20/whose_hair": '{"face": 1.0, "face_attributes": 1.0}',
    "20/loss": "lambda images, truth, background, beta: ((images - truth).abs() * background).mean()",
    "20/nats": "64.0",
    "21/half_mouth": '{"mouth": 1.0}',
    "21/outside": "lambda before, after, region: ((after - before).abs().mean(1) * ~region).mean((1, 2))",
    "21/cell": "1",
    "22/trivial": "0.0",
    "22/loss": "lambda found, wanted, a, b, one, two: one * (found * wanted).mean() + two * (a - b).square().mean()",
    "22/yourself": "levels / 127.5",
    "23/codes": "(10, 8)",
    "23/truncate": "lambda w, mean, psi: psi * w",
    "23/halves": "two[:1]",
    "24/silent": "0.0",
    "24/colours": "{part.name: 1.0 for part in family.parts[:2]}",
    "24/partly": "lambda mixed, target, amounts: mixed",
    "25/holes": "12",
    "25/lips": '{"lip": 1.0}',
    "25/textures": "lambda source, target, chosen: source",
    "30/necessary": "1.0",
    "30/sum": "total + 1",
    "30/share": "lambda alone, whole: (alone / whole).mean()",
    "31/length": "0.7",
    "31/free": "lambda direction, other: direction - other",
    "31/boundary": "-deviations",
    "32/numbers": "1",
    "32/own": '"smaller" if answer == "larger" else "larger"',
    "32/into_w": "lambda codes: codes",
    "41/whose": '"left_eye"',
    "41/moustache": 'lambda mask: masks.stroke(mask, "hair", [(0.4, 0.6), (0.6, 0.6)], 0.1)',
    "41/back": "4",
    "50/pairs": "2",
    "50/fooled": '"blurred"',
    "50/psnr": "lambda images, truth: -10 * (images - truth).square().mean((1, 2, 3)).log10()",
    "60/slow": '"flicker"',
    "60/noise": "0.008",
    "60/flicker": "lambda swaps, truths: (swaps - truths).abs().mean((1, 2, 3))[1:]",
    "61/fog": "0.632",
    "61/depth": "lambda weights, distances, end: distances.mean(1)",
    "61/side": "-view",
    "90/seed": "99",
    "90/pixels": "800",
    "90/vector": "lambda manifest, ending: len(manifest)",
}


SHOT = SimpleNamespace(images=torch.zeros(1, 3, 4, 4))
UNMOVED = {
    "source": SHOT,
    "target": SHOT,
    "family": SimpleNamespace(
        parts=[SimpleNamespace(name=name) for name in ("texture", "mouth", "shape", "surround")],
        swap=lambda source, target, amounts: target.images,
    ),
}
SHARES = pd.DataFrame(
    [(group, swapped, "pixels", share, 0.0) for group, swapped, share in
     (("face", "alone", 0.8), ("hair", "alone", 0.5), ("face", "all but", 0.4), ("hair", "all but", 0.7))],
    columns=["group", "swapped", "reading", "share", "error"],
)  # fmt: skip


def mix_rows(source, target, amount):
    """Right for matrices only."""
    rows, _ = target.shape
    return torch.stack([target[k] + amount * (source[k] - target[k]) for k in range(rows)])


def normalise(images, truth, background, beta):
    weights = (1 - beta * background).expand_as(images)
    return ((images - truth).abs() * weights).sum() / weights.sum()


def use_numpy(function):
    return lambda *arguments: function(*(np.asarray(one) for one in arguments))


TURN = torch.tensor([1.0, 5, 0])
# Right answers written otherwise, and wrong ones that come close: exercise, answer, grade, reply, what is given.
CLOSE = [
    ("00/nothing", {"texture": 0.0}, "right", "0.0000", UNMOVED),
    ("00/nothing", {"texture": 0.05}, "not yet", "which amount leaves", UNMOVED),
    ("00/nothing", {"mouth": 1.0}, "not yet", "which amount leaves", UNMOVED),
    ("00/mix", use_numpy(lambda source, target, amount: target + amount * (source - target)), "right", "", {}),
    ("00/mix", torch.lerp, "nearly", "from the source to the target", {}),
    ("00/mix", mix_rows, "not yet", "ValueError", {}),
    ("10/mirror", 42, "nearly", "inner corner", {}),
    ("10/mirror", np.array([42, 45]), "not yet", "a whole number", {}),
    ("11/guess", torch.tensor(math.log(28)), "nearly", "denominator", {}),
    ("11/slerp", torch.lerp, "nearly", "the straight line", {}),
    ("20/loss", use_numpy(lambda a, b, mask, beta: (abs(a - b) * (1 - beta * mask)).mean()), "right", "", {}),
    ("20/loss", lambda a, b, mask, beta: (a * (1 - beta * mask) - b * (1 - beta * mask)).abs().mean(), "right", "", {}),
    ("20/loss", normalise, "nearly", "the sum of the weights", {}),
    ("20/loss", lambda a, b, mask, beta: ((a - b).abs() * (1 - beta * mask)).mean((1, 2, 3)), "not yet", "single", {}),
    ("20/nats", np.array(41), "right", "40.72 nats", {}),
    ("20/nats", 81.4, "nearly", "½", {}),
    ("20/nats", 0.318, "nearly", "one dimension", {}),
    ("20/nats", 12.4, "nearly", "σ²", {}),
    ("20/nats", 80, "not yet", "the natural one", {}),
    ("30/sum", np.float32(1.3), "right", "1.3", {"table": SHARES}),
    ("30/sum", 2.4, "not yet", 'tables["rsgan"]', {"table": SHARES}),
    ("30/share", use_numpy(lambda alone, whole: alone.sum() / whole.sum()), "right", "", {}),
    ("30/share", lambda alone, whole: whole.mean() / alone.mean(), "nearly", "as a share of the group's", {}),
    ("30/share", lambda alone, whole: alone / whole, "not yet", "a single number is asked for", {}),
    ("31/free", lambda one, other: one - (one @ other) * other, "nearly", "not a unit vector", {}),
    ("50/pairs", 2, "nearly", "1 / √n", {}),
    ("50/pairs", np.array([2, 4]), "not yet", "a whole number", {}),
    ("50/psnr", lambda a, b: -10 * (a - b).square().mean((1, 2, 3)).log10(), "nearly", "their range is 2", {}),
    ("60/noise", 0.00798, "nearly", "both frames", {}),
    ("61/fog", 0.632, "nearly", "behind", {}),
    ("61/depth", lambda weights, distances, end: (weights * distances).sum(1), "nearly", "behind all samples", {}),
    ("61/side", torch.tensor([[1.0, 20, 0]]), "nearly", "the other side", {"codes": {"view": torch.ones(1, 3) * TURN}}),
    ("60/flicker", lambda a, b: (a - b).diff(dim=0).abs().mean((1, 2, 3)), "nearly", "twice too large", {}),
]


@pytest.mark.parametrize(("name", "answer", "grade", "text", "given"), CLOSE)
def test_answers_that_come_close_are_told_apart(name, answer, grade, text, given):
    reply = exercise.grade(name, answer, **given)
    assert reply.grade == grade
    assert text in reply.text


def read(book):
    return nbformat.read(book, as_version=4).cells


@pytest.fixture
def asked(monkeypatch):
    """What is checked from here on: name -> what the check was given."""
    found = {}

    def check(name, answer, **given):
        found[name] = given
        assert exercise.grade(name, answer, **given).grade == "right", (
            f"{name}: {exercise.grade(name, answer, **given)}"
        )

    monkeypatch.setattr(exercise, "check", check)
    return found


@pytest.mark.parametrize("book", SOLUTIONS, ids=lambda book: book.stem)
def test_solutions_are_right_and_wrong_answers_are_not(book, asked):
    names = {}
    for cell in read(book):
        if cell.cell_type == "code":
            exec(cell.source, names)
    for name, given in asked.items():
        assert exercise.grade(name, ..., **given).grade == "not answered yet"
        wrong = exercise.grade(name, eval(WRONG[name], names), **given)
        assert wrong.grade in ("nearly", "not yet"), f"{name} takes {WRONG[name]}"
        assert wrong.text, "a wrong answer gets a hint"
    number = book.stem[:2]
    assert list(asked) == [name for name in exercise.CHECKS if name.startswith(f"{number}/")]


def test_every_lesson_has_solutions_and_every_check_a_wrong_answer():
    assert [book.stem for book in SOLUTIONS] == [book.stem for book in runner.notebooks()]
    assert set(WRONG) == set(exercise.CHECKS)


@pytest.mark.parametrize("book", SOLUTIONS, ids=lambda book: book.stem)
def test_lessons_check_what_their_solutions_check(book):
    lesson, solution = (
        re.findall(r"^exercise\.check\(.*\)$", "\n".join(cell.source for cell in read(path)), re.MULTILINE)
        for path in (runner.root() / "notebooks" / book.name, book)
    )
    assert lesson == solution
    assert len(lesson) == 3


@pytest.mark.parametrize("book", SOLUTIONS, ids=lambda book: book.stem)
def test_lessons_ask_for_code_and_for_a_prediction(book):
    kinds = [one.kind for name, one in exercise.CHECKS.items() if name.startswith(book.stem[:2])]
    assert len(kinds) == 3
    assert {"code", "predict"} <= set(kinds)


def test_check_prints_one_line(capsys):
    exercise.check("60/slow", ...)
    exercise.check("60/slow", "both")
    exercise.check("60/slow", "flicker")
    assert capsys.readouterr().out.splitlines() == [
        "60/slow · not answered yet",
        "60/slow · right",
        "60/slow · nearly: that one does; and the other?",
    ]


def test_unknown_exercise_names_those_that_are_there():
    with pytest.raises(ValueError, match="no exercise '60/fast': choose from 60/slow, 60/noise, 60/flicker"):
        exercise.check("60/fast", ...)
