"""Settled initial states: the same as settling now, stored once, never trusted when damaged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ttrl_env import libero_tasks
from ttrl_env.engines.native import settled
from ttrl_env.engines.native.replica import Replica
from ttrl_env.engines.native.settled import SETTLE_STEPS, load_settled
from ttrl_env.engines.native.task.bundle import TaskBundle
from ttrl_env.engines.native.task.cache import load_bundle

pytestmark = pytest.mark.libero

TASK = ("libero_object", 0)


@pytest.fixture(scope="module")
def bundle() -> TaskBundle:
    return load_bundle(libero_tasks.get_task(*TASK))


@pytest.fixture
def settlings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many initial states each settling was asked for."""
    done: list[int] = []
    settle = settled._settle

    def counted(bundle: TaskBundle, init_states: np.ndarray) -> dict:
        done.append(len(init_states))
        return settle(bundle, init_states)

    monkeypatch.setattr(settled, "_settle", counted)
    return done


def test_a_stored_state_goes_on_as_a_state_settled_now(
    bundle: TaskBundle, settlings: list[int], tmp_path: Path
) -> None:
    states = libero_tasks.init_states(*TASK)[:2]
    load_settled(tmp_path, bundle, states)
    stored = load_settled(tmp_path, bundle, states)
    assert settlings == [2]
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 7))
    for state in states:
        restored, now = Replica(bundle), Replica(bundle)
        snapshot = stored.find(state)
        assert snapshot is not None
        restored.restore(snapshot)
        now.reset(state, SETTLE_STEPS)
        for replica in (restored, now):
            replica.step(actions)
        for one, other in zip(_everything(restored), _everything(now), strict=True):
            np.testing.assert_array_equal(one, other)
    assert stored.find(states[0] + 1e-12) is None


def _everything(replica: Replica) -> Iterator[np.ndarray]:
    snapshot = replica.snapshot()
    yield from (snapshot.integration_state, snapshot.xpos, snapshot.xquat, *snapshot.memory, *snapshot.sample)


def test_what_changes_the_last_bits_is_settled_anew(
    bundle: TaskBundle, settlings: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = libero_tasks.init_states(*TASK)[:1]
    load_settled(tmp_path, bundle, states)
    load_settled(tmp_path, bundle, states + 1e-12)
    monkeypatch.setattr(settled, "_machine", lambda: "another processor")
    load_settled(tmp_path, bundle, states)
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: b"foreign", lambda data: b""])
def test_a_damaged_file_is_settled_again(
    bundle: TaskBundle, settlings: list[int], tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    states = libero_tasks.init_states(*TASK)[:1]
    load_settled(tmp_path, bundle, states)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    load_settled(tmp_path, bundle, states)
    load_settled(tmp_path, bundle, states)
    assert settlings == [1, 1]
    assert os.listdir(tmp_path) == [path.name]
