"""The tasks that policies were trained on: read from their files, and compared with those to be played."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from ttrl_env.agents.cli import main
from ttrl_env.agents.policies.finding import SHIPPED
from ttrl_env.agents.policies.known_tasks import describe_tasks, describe_training
from ttrl_env.agents.policies.origin import suites_of, tasks_of
from ttrl_env.errors import OtherTasksWarning

FOUR = "tiny-vla-libero-object-four"

KNOWN = {"libero_object": (0, 1, 3, 8)}


def write(folder: Path, **content: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def openvla(folder: Path, *datasets: str) -> Path:
    return write(folder, model_type="openvla", norm_stats={key: {} for key in datasets})


def test_demonstrations_name_the_tasks_of_a_cloned_policy() -> None:
    assert set(tasks_of(SHIPPED / FOUR)) == {"libero_object"}
    assert len(tasks_of(SHIPPED / FOUR)["libero_object"]) == 4
    assert tasks_of(SHIPPED / "tiny-vla-libero-object") == {"libero_object": tuple(range(10))}
    assert suites_of(SHIPPED / FOUR) == ("libero_object",)


def test_a_training_checkpoint_has_the_tasks_of_its_run(tmp_path) -> None:
    policy = write(tmp_path / "iteration_000001" / "policy", demonstrations=[{"suite": "libero_goal"}])
    state = {"config": {"env": {"suite": "libero_long", "task_ids": [7, 2]}}}
    (policy.parent / "state.json").write_text(json.dumps(state))
    assert tasks_of(policy) == {"libero_10": (2, 7)}


@pytest.mark.parametrize(
    ("dataset", "suite"),
    [("libero_10_no_noops", "libero_10"), ("libero_90_no_noops_trajall", "libero_90")],
)
def test_action_statistics_are_named_after_the_suite(tmp_path, dataset, suite) -> None:
    assert list(tasks_of(openvla(tmp_path, dataset, "bridge_orig"))) == [suite]


def test_dataset_statistics_replace_those_of_the_configuration(tmp_path) -> None:
    openvla(tmp_path, "libero_10_no_noops")
    (tmp_path / "dataset_statistics.json").write_text('{"libero_goal_no_noops": {}}')
    assert list(tasks_of(tmp_path)) == ["libero_goal"]


def test_chosen_statistics_decide_among_several_suites(tmp_path) -> None:
    openvla(tmp_path, "libero_goal_no_noops", "libero_10_no_noops")
    assert list(tasks_of(tmp_path)) == ["libero_goal", "libero_10"]
    for key in ("libero_10", "libero_10_no_noops"):
        assert list(tasks_of(tmp_path, key)) == ["libero_10"]
    write(tmp_path / "saved", norm_stats={"libero_goal_no_noops": {}, "libero_10_no_noops": {}})
    (tmp_path / "saved" / "ttrl_policy.json").write_text('{"unnorm_key": "libero_10_no_noops"}')
    assert suites_of(tmp_path / "saved") == tuple(tasks_of(tmp_path / "saved")) == ("libero_10",)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"demonstrations": [{"suite": ["libero_goal"], "task": 3}, 4, {"suite": "my_suite", "task": "x"}]},
        {"norm_stats": {"bridge_orig": {}, "libero_130_no_noops": {}}},
        {"norm_stats": ["libero_10"]},
    ],
)
def test_files_that_say_nothing_are_no_error(tmp_path, content) -> None:
    assert tasks_of(write(tmp_path, **content)) == {}


def test_the_policys_own_tasks_and_libero_pros_changes_of_them_are_no_reason_to_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own = describe_training("mine", KNOWN, "libero_object", [3])
        changed = describe_training("mine", KNOWN, "libero_object_swap", [3, 8])
        back = describe_training("mine", {"libero_object_swap": (3,)}, "libero_object", [3])
        unknown = describe_training("mine", {}, "libero_goal", [0])
    assert own == "trained on libero_object, tasks 0, 1, 3, 8"
    assert "libero_object_swap is LIBERO-PRO's change of it" in changed
    assert "libero_object has the same tasks" in back
    assert unknown == "does not say what it was trained on"


def test_another_suite_is_warned_of_with_both_names() -> None:
    with pytest.warns(OtherTasksWarning, match="was trained on libero_object, and env.suite=libero_goal"):
        describe_training("mine", KNOWN, "libero_goal", [3])


def test_tasks_that_were_not_demonstrated_are_warned_of() -> None:
    with pytest.warns(OtherTasksWarning, match="tasks 0, 1, 3, 8 of libero_object; env.task_ids: task 4"):
        describe_training("mine", KNOWN, "libero_object_object", [3, 4])


def test_tasks_are_described_by_number_and_a_single_one_by_its_instruction() -> None:
    assert describe_tasks("libero_goal", range(10)) == "libero_goal, tasks 0 to 9"
    assert describe_tasks("libero_goal", [7]) == "libero_goal, task 7: 'turn on the stove'"


class TestCommands:
    """``ttrl train | eval | doctor`` without ``env.suite``."""

    def played(self, capsys, *arguments: str) -> tuple[str, list[int]]:
        import yaml

        assert main([*arguments, "--cfg"]) == 0
        env = yaml.safe_load(capsys.readouterr().out)["env"]
        return env["suite"], env["task_ids"]

    @pytest.mark.parametrize("command", [["train", f"policy.path={FOUR}"], ["eval", FOUR], ["doctor", FOUR]])
    def test_a_policy_brings_its_tasks(self, command, capsys) -> None:
        own = tasks_of(SHIPPED / FOUR)["libero_object"]
        assert self.played(capsys, *command) == ("libero_object", list(own))
        assert self.played(capsys, *command, "env.task_ids=[9]") == ("libero_object", [9])
        assert self.played(capsys, *command, "env.suite=libero_goal") == ("libero_goal", [0])

    def test_ids_are_checked_against_the_policys_suite(self, tmp_path, capsys) -> None:
        path = f"policy.path={openvla(tmp_path / 'big', 'libero_90_no_noops')}"
        assert self.played(capsys, "train", path, "env.task_ids=[45]") == ("libero_90", [45])

    def test_the_suite_of_a_preset_stays(self, capsys, ample_memory) -> None:
        command = ("train", "preset=simplevla-rl", f"policy.path={FOUR}")
        assert self.played(capsys, *command) == ("libero_10", list(range(10)))

    def test_one_of_several_suites_must_be_named(self, tmp_path, capsys) -> None:
        path = f"policy.path={openvla(tmp_path / 'x', 'libero_goal_no_noops', 'libero_10_no_noops')}"
        assert main(["train", path]) == 2
        said = capsys.readouterr().err
        assert "was trained on several suites, libero_goal, libero_10; name the one to play, e.g. " in said
        chosen = "policy.openvla.unnorm_key=libero_10_no_noops"
        assert self.played(capsys, "train", path, chosen)[0] == "libero_10"

    def test_a_policy_that_says_nothing_plays_the_default(self, tmp_path, capsys) -> None:
        path = write(tmp_path / "bare", model_type="tiny_vla")
        assert self.played(capsys, "eval", str(path)) == ("libero_spatial", [0])


@pytest.mark.parametrize("dataset", ["lift_pot_1k", "robotwin2_lift_pot_1k", "lift_pot"])
def test_action_statistics_of_robotwin_are_named_after_tasks(tmp_path, dataset) -> None:
    assert tasks_of(openvla(tmp_path, dataset, "bridge_orig")) == {"robotwin": (11,)}
    assert suites_of(tmp_path) == ("robotwin",)
