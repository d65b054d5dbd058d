"""Which world a policy comes from: its training's, else its demonstrations'; strange files say nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.agents.reach import make_tiny_policy
from ttrl_env.agents.policies import load_policy, origin
from ttrl_env.agents.policies.origin import mujoco_of
from ttrl_env.libero_version import LiberoVersionWarning


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The policy of a training checkpoint that is not there yet."""
    policy = tmp_path / "iteration_000003" / "policy"
    make_tiny_policy().save_pretrained(policy)
    return policy


def describe(folder: Path, demonstrations: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "demonstrations": demonstrations}))


def test_nothing_is_known_of_a_bare_policy(folder: Path) -> None:
    assert mujoco_of(folder) is None
    assert mujoco_of(folder / "nowhere") is None


def test_of_several_worlds_one_that_is_not_installed_is_told(folder: Path, monkeypatch) -> None:
    for order in (("3.3.2", "4.0.0"), ("4.0.0", "3.3.2")):
        describe(folder, [{"mujoco": version} for version in order])
        for installed, other in (("3.3.2", "4.0.0"), ("4.0.0", "3.3.2")):
            monkeypatch.setattr(origin, "installed_mujoco", lambda installed=installed: installed)
            assert mujoco_of(folder) == other


def test_a_checkpoint_s_own_training_counts_and_is_warned_of(folder: Path) -> None:
    describe(folder, [{"mujoco": "3.3.2"}])
    (folder.parent / "state.json").write_text(json.dumps({"versions": {"mujoco": "99.1.0"}}))
    assert mujoco_of(folder) == "99.1.0"
    with pytest.warns(LiberoVersionWarning, match=r"policy is of MuJoCo 99.1.0"):
        load_policy(folder)


@pytest.mark.parametrize(
    "demonstrations",
    ["abc", 5, [1, 2], {"a": 1}, [{"mujoco": 3}], [{"mujoco": "newest"}], [{"mujoco": ["3"]}]],
)
def test_strange_demonstrations_say_nothing(folder: Path, demonstrations: Any) -> None:
    describe(folder, demonstrations)
    assert mujoco_of(folder) is None


@pytest.mark.parametrize("state", ["{", "[]", '{"versions": null}', '{"versions": {"mujoco": 3}}'])
def test_a_strange_state_says_nothing(folder: Path, state: str) -> None:
    (folder.parent / "state.json").write_text(state)
    assert mujoco_of(folder) is None


def test_a_policy_that_was_trained_on_robotwin_is_of_no_mujoco(folder: Path) -> None:
    state = {"versions": {"mujoco": "3.3.2"}, "config": {"env": {"suite": "robotwin", "task_ids": [45]}}}
    (folder.parent / "state.json").write_text(json.dumps(state))
    assert mujoco_of(folder) is None
