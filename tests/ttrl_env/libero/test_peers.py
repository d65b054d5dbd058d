"""Other projects' loops return the same after ``ttrl_env.libero.install()`` as before, in every bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import ttrl_env.libero
from tests.ttrl_env.libero.episodes import assert_same, in_a_fresh_process
from tests.ttrl_env.libero.peers import is_installed, lerobot, openvla_oft, rlinf, simple_vla_rl
from tests.ttrl_env.stove import SUCCESS_STEPS

pytestmark = [pytest.mark.libero, pytest.mark.slow]


def run(loop: Callable[[], Iterator[tuple[str, Any]]]) -> list[tuple[str, Any]]:
    np.random.seed(0)
    return list(loop())


def run_after_install(loop: Callable[[], Iterator[tuple[str, Any]]]) -> list[tuple[str, Any]]:
    ttrl_env.libero.install()
    try:
        seen = run(loop)
        assert is_installed()
    finally:
        ttrl_env.libero.uninstall()
    assert not is_installed()
    return seen


def test_a_peer_s_loop_sees_success_after_install() -> None:
    """Both trials end at the step at which the stove is on; that all bits are LIBERO's is tested below."""
    outcomes = [value[:2] for name, value in run_after_install(openvla_oft) if name == "outcome"]
    expected = []
    for steps in SUCCESS_STEPS[:2]:
        assert steps is not None
        expected += [(0.0, False)] * (steps - 1) + [(1.0, True)]
    assert outcomes == expected


@pytest.mark.thorough  # of the same classes: test_control_env.py, test_vector_envs.py
@pytest.mark.parametrize("loop", [openvla_oft, lerobot, rlinf, simple_vla_rl], ids=lambda loop: loop.__name__)
def test_a_peer_s_loop_returns_the_same_after_install(loop: Callable[[], Iterator[tuple[str, Any]]]) -> None:
    theirs = in_a_fresh_process(run, loop)
    assert_same(run_after_install(loop), theirs)
