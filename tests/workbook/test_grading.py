"""Each kind of judge tells right, nearly and wrong answers apart, and says what is off."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from swaplib.workbook.grading import (
    Reply,
    judge_amounts,
    judge_choice,
    judge_code,
    judge_count,
    judge_number,
    judge_tensor,
)


def test_reply_reads_as_one_line():
    assert str(Reply("right")) == "right"
    assert str(Reply("nearly", "a part is missing")) == "nearly: a part is missing"


@pytest.mark.parametrize(
    ("answer", "grade", "text"),
    [
        (2.5, "right", "2.5 dB"),
        (2.52, "right", "2.5 dB"),
        (torch.tensor(2.5), "right", "2.5 dB"),
        (np.array(2.5), "right", "2.5 dB"),
        (np.array([2.52]), "right", "2.5 dB"),
        (np.array([2.5, 2.5]), "not yet", "a number is asked for, not an array of shape (2,)"),
        (torch.ones(3), "not yet", "not a tensor of shape (3,)"),
        (-2.5, "nearly", "sign"),
        (0.025, "nearly", "too small by a factor of 100"),
        (25, "nearly", "too large by a factor of 10"),
        (2.65, "nearly", "a little too large"),
        (2.35, "nearly", "a little too small"),
        (4, "not yet", "look"),
        (math.nan, "not yet", "a number"),
        ("2.5", "not yet", "a number is asked for, not '2.5'"),
        (True, "not yet", "a number"),
    ],
)
def test_number(answer, grade, text):
    reply = judge_number(answer, 2.5, 0.05, "look", " dB")
    assert reply.grade == grade
    assert text in reply.text


def test_zero_is_a_number_like_others():
    assert judge_number(0, 0.0, 1e-6, "look").grade == "right"
    assert judge_number(1, 0.0, 1e-6, "look") == Reply("not yet", "look")


def test_known_wrong_numbers_say_what_is_off():
    near = {8.0: "all eight", 0.01: "one of them"}
    assert judge_number(torch.tensor(8.01), 2.5, 0.05, "look", near=near) == Reply("nearly", "all eight")
    assert judge_number(0.01, 2.5, 0.05, "look", near=near) == Reply("nearly", "one of them")
    assert judge_number(0.02, 2.5, 0.05, "look", near=near) == Reply("not yet", "look")
    assert judge_count(np.array(9), 18, "look", {9: "half of them"}) == Reply("nearly", "half of them")
    assert judge_count(np.array([9, 18]), 18, "look", {9: "half of them"}).grade == "not yet"


@pytest.mark.parametrize(
    ("answer", "grade"),
    [
        (18, "right"),
        (18.0, "right"),
        (np.array(18), "right"),
        (17, "nearly"),
        (3, "not yet"),
        (1.5, "not yet"),
        ("x", "not yet"),
    ],
)
def test_count(answer, grade):
    assert judge_count(answer, 18, "look").grade == grade
    assert judge_count(0, 1, "look").grade == "not yet", "off by one says nothing about small numbers"


def test_choice():
    choices = ("pose", "light", "glasses")
    assert judge_choice("Pose ", "pose", choices, "look").grade == "right"
    assert judge_choice("light", "pose", choices, "look") == Reply("not yet", "look")
    assert judge_choice("light", "pose", choices, "look", {"light": "the second"}) == Reply("nearly", "the second")
    assert "none of pose, light, glasses" in judge_choice("hair", "pose", choices, "look").text


@pytest.mark.parametrize(
    ("answer", "grade", "text"),
    [
        ({"hair": 1.0, "colour": 1}, "right", ""),
        ({"hair": 1.0, "colour": 1, "face": 0.0}, "right", ""),
        ({"hair": np.array([1.0]), "colour": torch.ones(1)}, "right", ""),
        ({"hair": 0.5, "colour": 1.0}, "nearly", "amounts"),
        ({"hair": 1.0}, "nearly", "missing"),
        ({"hair": 1.0, "colour": 1.0, "face": 1.0}, "nearly", "too many"),
        ({"face": 1.0}, "not yet", "look"),
        ({}, "not yet", "look"),
        ({"nose": 1.0}, "not yet", "no part 'nose'"),
        ({"hair": "all"}, "not yet", "a number"),
        (1.0, "not yet", "dictionary"),
    ],
)
def test_amounts(answer, grade, text):
    reply = judge_amounts(answer, {"hair": 1.0, "colour": 1.0}, ["face", "hair", "colour"], "look")
    assert reply.grade == grade
    assert text in reply.text


def test_where_nothing_is_to_be_taken_any_part_is_wrong():
    assert judge_amounts({"face": 0.0}, {}, ["face", "hair"], "look").grade == "right"
    assert judge_amounts({"face": 1.0}, {}, ["face", "hair"], "look") == Reply("not yet", "look")


def test_tensor():
    wanted = torch.arange(6.0).reshape(1, 6)
    assert judge_tensor(wanted + 1e-5, wanted, "look").grade == "right"
    assert judge_tensor(wanted.numpy(), wanted, "look").grade == "right"
    assert judge_tensor(wanted.tolist(), wanted, "look").grade == "right"
    assert judge_tensor(np.float64(3), torch.tensor(3.0), "look").grade == "right"
    assert judge_tensor(-wanted, wanted, "look") == Reply("nearly", "the sign is the other one")
    assert "0.5 times" in judge_tensor(wanted / 2, wanted, "look").text
    assert "off by the same +3" in judge_tensor(wanted + 3, wanted, "look").text
    assert judge_tensor(wanted[0], wanted, "look").grade == "nearly"
    assert judge_tensor(wanted[:, :2], wanted, "look").grade == "not yet"
    assert judge_tensor(wanted.flip(1), wanted, "look") == Reply("not yet", "look")
    assert "of shape (1, 6)" in judge_tensor(3, wanted, "look").text
    assert "of shape (1, 6)" in judge_tensor("six", wanted, "look").text


TRIALS = [(torch.arange(8.0).reshape(2, 4),), (torch.ones(2, 4),)]


@pytest.mark.parametrize(
    ("function", "grade", "text"),
    [
        (lambda x: x.mean(1), "right", ""),
        (lambda x: x.sum(1) / 4.0001, "right", ""),
        (lambda x: x.double().mean(1), "right", ""),
        (lambda x: x.numpy().mean(1), "right", ""),
        (lambda x: [float(row.mean()) for row in x], "right", ""),
        (lambda x: [row.mean() for row in x], "right", ""),
        (lambda x: x.sum(1), "nearly", "4 times"),
        (lambda x: x.mean(1) + 1, "nearly", "off by the same +1"),
        (lambda x: x.mean(1, keepdim=True), "nearly", "of shape (2, 1) where a tensor of shape (2,)"),
        (lambda x: x, "not yet", "a tensor of shape (2, 4)"),
        (lambda x: x.mean(), "not yet", "a single number where"),
        (lambda x: x.median(1).values, "nearly", "the median"),
        (lambda x: list(x), "not yet", "a list where a tensor of shape (2,)"),
        (lambda x: x[:, 0], "not yet", "look"),
        (lambda x: x.mean(1) / 0, "not yet", "not finite"),
        (lambda x: x.nothing, "not yet", "AttributeError"),
        (lambda x, y: x, "not yet", "TypeError"),
        (lambda x: "mean", "not yet", "'mean' where a tensor of shape (2,) is asked for"),
        (lambda x: None, "not answered yet", ""),
        (lambda x: ..., "not answered yet", ""),
        (3, "not yet", "a function is asked for"),
    ],
)
def test_code(function, grade, text):
    near = {"that is the median": lambda x: x.median(1).values}
    reply = judge_code(function, lambda x: x.mean(1), TRIALS, "look", near)
    assert reply.grade == grade
    assert text in reply.text


def test_code_that_changes_its_arguments_spoils_nothing():
    before = TRIALS[0][0].clone()
    assert judge_code(lambda x: x.mul_(2).mean(1), lambda x: 2 * x.mean(1), TRIALS, "look").grade == "right"
    assert torch.equal(TRIALS[0][0], before)
