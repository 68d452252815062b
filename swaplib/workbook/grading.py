"""Replies to a learner's answer: right, nearly (and what is off), or not yet, with a hint.

Each judge is a pure function of the answer and of what is right. Tolerances are the caller's: wide enough for another
processor, narrow enough to tell a wrong answer. None of them tells what is right unless the answer is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np
import torch

Grade = Literal["right", "nearly", "not yet", "not answered yet"]


@dataclass(frozen=True)
class Reply:
    """A grade, and what there is to say about it."""

    grade: Grade
    text: str = ""

    def __str__(self) -> str:
        return f"{self.grade}: {self.text}" if self.text else self.grade


def judge_number(
    answer: Any, wanted: float, within: float, hint: str, unit: str = "", near: Mapping[float, str] | None = None
) -> Reply:
    """Judge a number: right within a distance; nearly where it is off by sign, by a power of ten, or by a little.

    near: wrong number -> what is off with it.
    """
    number = _as_number(answer)
    if number is None:
        return Reply("not yet", f"a number is asked for, not {_describe(answer)}")
    if abs(number - wanted) <= within:
        return Reply("right", f"{wanted:.4g}{unit}")
    for other, off in (near or {}).items():
        if abs(number - other) <= min(within, 0.02 * abs(other)):
            return Reply("nearly", off)
    if wanted and abs(number + wanted) <= within:
        return Reply("nearly", "the sign is the other one")
    for power in (2, -2, 1, -1, 3, -3):
        if wanted and number and abs(number * 10.0**power - wanted) <= min(within, 0.05 * abs(wanted)):
            return Reply("nearly", f"{'too small' if power > 0 else 'too large'} by a factor of {10 ** abs(power)}")
    if abs(number - wanted) <= 4 * within:
        return Reply("nearly", f"a little too {'large' if number > wanted else 'small'}")
    return Reply("not yet", hint)


def judge_count(answer: Any, wanted: int, hint: str, near: Mapping[int, str] | None = None) -> Reply:
    """Judge a whole number: nearly where it is off by one. near: wrong number -> what is off with it."""
    number = _as_number(answer)
    if number is None or number != int(number):
        return Reply("not yet", f"a whole number is asked for, not {_describe(answer)}")
    if number == wanted:
        return Reply("right")
    if near and number in near:
        return Reply("nearly", near[int(number)])
    return Reply("nearly", "off by one") if abs(number - wanted) == 1 and wanted > 2 else Reply("not yet", hint)


def judge_choice(
    answer: Any, wanted: str, choices: Iterable[str], hint: str, near: Mapping[str, str] | None = None
) -> Reply:
    """Judge one of several names, however it is written. near: wrong choice -> what is off with it."""
    plain, choices = str(answer).strip().lower().replace(" ", "_"), list(choices)
    known = {choice.lower().replace(" ", "_"): choice for choice in choices}
    if plain not in known:
        return Reply("not yet", f"{answer!r} is none of {', '.join(choices)}")
    if known[plain] == wanted:
        return Reply("right")
    off = (near or {}).get(known[plain])
    return Reply("nearly", off) if off else Reply("not yet", hint)


def judge_amounts(answer: Any, wanted: Mapping[str, float], parts: Sequence[str], hint: str) -> Reply:
    """Judge the amounts of a mix; a part that is left out has the amount 0."""
    if not isinstance(answer, Mapping):
        return Reply("not yet", f"a dictionary of amounts is asked for, not {_describe(answer)}")
    if unknown := [name for name in answer if name not in parts]:
        return Reply("not yet", f"there is no part {unknown[0]!r}: the parts are {', '.join(parts)}")
    if any(_as_number(amount) is None for amount in answer.values()):
        return Reply("not yet", "each amount is a number from 0 to 1")
    given = {name: _as_number(amount) for name, amount in answer.items()}
    if all(abs(given.get(name, 0) - wanted.get(name, 0)) <= 1e-3 for name in parts):
        return Reply("right")
    taken, right = ({name for name in parts if one.get(name, 0)} for one in (given, wanted))
    if taken == right:
        return Reply("nearly", "the parts are right, the amounts are not")
    if taken and right and (taken > right or taken < right):
        return Reply("nearly", "that is too many parts" if taken > right else "a part is missing")
    return Reply("not yet", hint)


def judge_tensor(answer: Any, wanted: torch.Tensor, hint: str, rtol: float = 1e-3, atol: float = 1e-4) -> Reply:
    """Judge numbers in a tensor: nearly where only shape, a factor or a constant is off."""
    found, wanted = _as_tensor(answer), wanted.detach().double()
    if found is None:
        return Reply("not yet", f"{_describe_shape(wanted)} is asked for, not {_describe(answer)}")
    if found.shape != wanted.shape:
        text = f"it is {_describe_shape(found)} where {_describe_shape(wanted)} is asked for"
        return Reply("nearly" if found.numel() == wanted.numel() else "not yet", text)
    if torch.allclose(found, wanted, rtol, atol):
        return Reply("right")
    return Reply(*_explain([(found, wanted)], hint, rtol, atol))


def judge_code(
    answer: Any, model: Callable, trials: Sequence[tuple], hint: str, near: Mapping[str, Callable] | None = None
) -> Reply:
    """Judge a function by what it returns for small random inputs, beside a model's answers.

    trials: arguments of each call. near: what is off -> the model of a function that is nearly right. A function that
    returns nothing has not been written yet; one that returns an array or a list of numbers counts like a tensor.
    """
    if not callable(answer):
        return Reply("not yet", f"a function is asked for, not {_describe(answer)}")
    pairs = []
    for arguments in trials:
        wanted = _as_tensor(model(*_copies(arguments)))
        try:
            returned = answer(*_copies(arguments))
        except Exception as error:  # whatever the learner's code may raise
            return Reply("not yet", f"it raised {type(error).__name__}: {str(error).partition(chr(10))[0]}")
        if returned is None or returned is ...:
            return Reply("not answered yet")
        found = _as_tensor(returned)
        if found is None:
            return Reply("not yet", f"it returns {_describe(returned)} where {_describe_shape(wanted)} is asked for")
        if found.shape != wanted.shape:
            text = f"it returns {_describe_shape(found)} where {_describe_shape(wanted)} is asked for"
            return Reply("nearly" if found.numel() == wanted.numel() else "not yet", text)
        pairs.append((found, wanted))
    if all(torch.allclose(*pair, rtol=1e-3, atol=1e-5) for pair in pairs):
        return Reply("right")
    for off, other in (near or {}).items():
        others = [_as_tensor(other(*_copies(arguments))) for arguments in trials]
        if all(torch.allclose(found, one, rtol=1e-3, atol=1e-5) for (found, _), one in zip(pairs, others, strict=True)):
            return Reply("nearly", off)
    return Reply(*_explain(pairs, hint, 1e-3, 1e-5))


def _explain(pairs: list[tuple[torch.Tensor, torch.Tensor]], hint: str, rtol: float, atol: float) -> tuple[Grade, str]:
    """Say what is off where it is one factor or one constant in all numbers, or a few numbers only."""
    found, wanted = (torch.cat([one.flatten() for one in side]) for side in zip(*pairs, strict=True))
    if not found.isfinite().all():
        return "not yet", "some of the numbers are not finite"
    if len(found) > 1 and wanted.abs().max() > atol:
        factor = float((found * wanted).sum() / wanted.square().sum())
        if abs(factor) > 1e-6 and torch.allclose(found, factor * wanted, rtol, atol):
            if math.isclose(factor, -1, rel_tol=1e-3):
                return "nearly", "the sign is the other one"
            return "nearly", f"all numbers are {factor:.4g} times what they should be"
        constant = float((found - wanted).mean())
        if torch.allclose(found, wanted + constant, rtol, atol):
            return "nearly", f"all numbers are off by the same {constant:+.3g}"
    share = torch.isclose(found, wanted, rtol, atol).double().mean()
    if share > 0.8:
        return "nearly", f"{share:.0%} of the numbers are right"
    return "not yet", hint


def _as_number(answer: Any) -> float | None:
    """Return a plain number, also that of a tensor or array with one; None for others, truth values included."""
    if isinstance(answer, (torch.Tensor, np.ndarray)) and math.prod(answer.shape) == 1:
        answer = answer.item()
    if isinstance(answer, bool) or not isinstance(answer, Real) or not math.isfinite(answer):
        return None
    return float(answer)


def _as_tensor(answer: Any) -> torch.Tensor | None:
    """Return the numbers of a tensor, an array or a list; None where there are none."""
    try:
        numbers = answer.astype(float) if isinstance(answer, np.ndarray) else answer
        return torch.as_tensor(numbers).detach().double()
    except (TypeError, ValueError, RuntimeError):  # text, names, rows of different lengths
        return None


def _describe_shape(numbers: torch.Tensor) -> str:
    return f"a tensor of shape {tuple(numbers.shape)}" if numbers.ndim else "a single number"


def _describe(answer: Any) -> str:
    if isinstance(answer, (torch.Tensor, np.ndarray)):
        return f"{'a tensor' if isinstance(answer, torch.Tensor) else 'an array'} of shape {tuple(answer.shape)}"
    return f"{answer!r}" if isinstance(answer, (str, int, float, bool, type(None))) else f"a {type(answer).__name__}"


def _copies(arguments: tuple) -> list:
    """Copy arguments, so that a function that changes its arguments doesn't change the next call's."""
    return [deepcopy(one) for one in arguments]
