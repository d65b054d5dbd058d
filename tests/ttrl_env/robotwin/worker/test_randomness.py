import random

import numpy as np

from ttrl_env.robotwin.worker.randomness import Randomness


def draw(row: Randomness) -> tuple[float, float]:
    with row.in_use():
        return random.random(), float(np.random.rand())


def test_a_row_draws_the_same_numbers_whether_or_not_another_one_draws_in_between() -> None:
    alone, beside, other = Randomness(7), Randomness(7), Randomness(8)
    for _ in range(3):
        expected = draw(alone)
        draw(other)
        assert draw(beside) == expected


def test_a_row_goes_on_after_an_error() -> None:
    alone, failing = Randomness(7), Randomness(7)
    first = draw(alone)
    try:
        with failing.in_use():
            assert (random.random(), float(np.random.rand())) == first
            raise RuntimeError
    except RuntimeError:
        pass
    assert draw(failing) == draw(alone)
