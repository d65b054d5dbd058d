"""What strangers wrote into a checkpoint's files about where it comes from."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ttrl_env.agents.policies.provenance import cloning, provenance
from ttrl_env.errors import CheckpointError

STATE: dict[str, Any] = {"iteration": 1, "groups_dealt": 1, "reference": None, "versions": {}}


ENTRY = {"suite": "libero_goal", "task": "x", "num_episodes": 1, "init_state_ids": [1], "mujoco": None}


@pytest.mark.parametrize(
    "entries",
    [5, "x", [1], [{}], [{"suite": 1}], {"a": 1}, [{**ENTRY, "num_episodes": "1"}], [{**ENTRY, "task": []}]],
)
def test_demonstrations_told_of_in_another_way_are_named(tmp_path, entries) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"demonstrations": entries}))
    with pytest.raises(CheckpointError, match=r"config\.json.*: demonstrations: expected what ttrl pretrain"):
        cloning(tmp_path)


@pytest.mark.parametrize("config", [{"env": 3}, {"env": {"suite": "x", "task_ids": None}}])
def test_a_state_without_a_runs_configuration_is_named(tmp_path, config) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "state.json").write_text(json.dumps({**STATE, "config": config}))
    with pytest.raises(CheckpointError, match=r"state\.json: its configuration cannot be used"):
        provenance(tmp_path / "policy")
