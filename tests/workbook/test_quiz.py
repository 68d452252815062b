"""The quiz: sides are as it says, answers are counted beside guessing, and nothing is told before an answer."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest
import torch

from swaplib import data
from swaplib.workbook import quiz
from swaplib.workbook.material import draw_faces


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared folder whose pictures stand in for photographs."""
    return data.render(tmp_path_factory.mktemp("quiz") / "set", 4, seed=7, size=64, jobs=1, progress=False)


@pytest.fixture(scope="module")
def pairs(folder):
    return quiz.draw(folder, seed=3, count=6, size=64, world="calm")


def test_the_photograph_is_on_the_side_that_the_letter_says(folder, pairs):
    assert set(pairs.photographs) == {"l", "r"}
    photographs = draw_faces(6, 3, size=64, folder=folder).images
    rendered = draw_faces(6, 3, quiz.START).resize(64).images
    for k, side in enumerate(pairs.photographs):
        left, right = (photographs, rendered) if side == "l" else (rendered, photographs)
        assert torch.equal(pairs.left[k], left[k])
        assert torch.equal(pairs.right[k], right[k])


def test_the_seed_decides_on_the_sides(folder):
    drawn = {quiz.draw(folder, seed, count=6, size=64).photographs for seed in range(3)}
    assert len(drawn) > 1
    assert quiz.draw(folder, 1, count=6, size=64).photographs == quiz.draw(folder, 1, count=6, size=64).photographs


def test_pictures_are_large_enough_on_a_screen():
    twenty = quiz.Quiz(*torch.zeros(2, 20, 3, 64, 64), 20 * "l")
    figure = quiz.show(twenty)
    figure.canvas.draw()
    assert [ax.get_title() for ax in figure.axes] == [str(k + 1) for k in range(20)]
    pixels = figure.axes[0].get_window_extent().width / figure.axes[0].images[0].get_array().shape[1]
    assert pixels * 64 * 100 / figure.dpi >= 96
    plt.close(figure)


def test_right_answers_are_counted_beside_guessing(pairs):
    twenty = quiz.Quiz(pairs.left, pairs.right, 10 * "lr")
    perfect = quiz.mark(" ".join(10 * ["LR"]), twenty)
    assert (
        perfect == "20 of 20 right, 100% [84%, 100%]: better than guessing\n" + f"photographs: {10 * 'lr'}; wrong: none"
    )
    assert "10 of 20 right, 50% [30%, 70%]: as guessing might do" in quiz.mark(20 * "l", twenty)
    assert "0 of 20 right, 0% [0%, 16%]: worse than guessing" in quiz.mark(10 * "rl", twenty)
    assert quiz.mark("rr" + 9 * "lr", twenty).endswith("wrong: 1")


@pytest.mark.parametrize("answer", [3, None, "", "lrl", "lrlrlx", ["l"] * 6])
def test_what_is_no_answer_is_told_nothing(pairs, answer):
    reply = quiz.mark(answer, pairs)
    assert reply.startswith("6 letters are asked for")
    assert pairs.photographs not in reply


def test_without_photographs_the_lesson_goes_on(capsys):
    assert quiz.draw(None) is None
    assert quiz.show(None) is None
    quiz.check(..., None)
    quiz.check("lr", None)
    wanted, open_, wanted_again = capsys.readouterr().out.splitlines()
    assert (wanted, open_, wanted_again) == (quiz.WANTED, "quiz · not answered yet", f"quiz · {quiz.WANTED}")
    assert "swaplib prepare LFW lfw128" in wanted
