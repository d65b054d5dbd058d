"""Other projects' loops return the same after ``ttrl_env.libero.install()`` as before, in every bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import ttrl_env.libero
from tests.ttrl_env.libero.episodes import assert_same, in_a_fresh_process
from tests.ttrl_env.libero.peers import is_installed, lerobot, openvla_oft, rlinf, simple_vla_rl

pytestmark = [pytest.mark.libero, pytest.mark.slow]


def run(loop: Callable[[], Iterator[tuple[str, Any]]]) -> list[tuple[str, Any]]:
    np.random.seed(0)
    return list(loop())


@pytest.mark.parametrize(
    "loop",
    [
        openvla_oft,
        *(pytest.param(each, marks=pytest.mark.thorough) for each in (lerobot, rlinf, simple_vla_rl)),
    ],
    ids=lambda loop: loop.__name__,
)
def test_a_peer_s_loop_returns_the_same_after_install(loop: Callable[[], Iterator[tuple[str, Any]]]) -> None:
    theirs = in_a_fresh_process(run, loop)
    ttrl_env.libero.install()
    try:
        ours = run(loop)
        assert is_installed()
    finally:
        ttrl_env.libero.uninstall()
    assert not is_installed()
    assert_same(ours, theirs)
