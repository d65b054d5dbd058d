from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence

import pytest

from ttrl_env import libero_tasks
from ttrl_env.agents.cli import main
from ttrl_env.agents.commands.table import COMMANDS, module_of
from ttrl_env.agents.config.checks import warn_of_half_drgrpo
from ttrl_env.agents.config.loading import walk_fields
from ttrl_env.agents.config.schema import PPOConfig
from ttrl_env.errors import MissingDependencyError


def test_help_names_every_command(capsys) -> None:
    assert main(["--help"]) == 0
    output = capsys.readouterr().out
    for command in COMMANDS:
        assert f"ttrl {command}" in output


def test_help_of_a_command_is_a_word_or_a_flag(capsys) -> None:
    assert main(["help", "tasks"]) == 0
    by_word = capsys.readouterr().out
    assert main(["tasks", "--help"]) == 0
    assert by_word == capsys.readouterr().out
    assert by_word.startswith("usage: ttrl tasks [SUITE]")
    assert main(["help", "task"]) == 2
    assert "Did you mean 'tasks'" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_key(command, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert main([command, "--help"]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.strip()}
    for key, _ in walk_fields(module_of(command).SCHEMA):
        assert len(lines[key]) > 2, f"{key} has no explanation"


def test_a_warning_about_settings_is_a_message_of_the_command(capsys, monkeypatch) -> None:
    def run(arguments: Sequence[str]) -> int:
        warn_of_half_drgrpo(PPOConfig(advantage="drgrpo"))
        return 0

    monkeypatch.setattr(module_of("train"), "run", run)
    assert main(["train"]) == 0
    message = capsys.readouterr().err
    assert message.startswith("ttrl train: ppo.advantage=drgrpo is half of Dr.GRPO: with ppo.loss_reduction=")
    assert len(message.splitlines()) == 1


def test_the_resolved_configuration_can_be_looked_at(capsys) -> None:
    assert main(["train", "--cfg", "+data.n_samples=5"]) == 0
    assert "n_samples: 5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "Did you mean 'train'"),
        (["train", "env.n_sampels=3"], "Did you mean 'env.n_samples'"),
        (["tasks", "libero_sptial"], "Did you mean 'libero_spatial'"),
        (["eval"], "checkpoint: name what to evaluate"),
        (["eval", "checkpoint="], "checkpoint: name what to evaluate"),
        (
            ["eval", "checkpoint=x", "eval.temperatures=0.6"],
            "expected a list, e.g. 'eval.temperatures=[0.6]'",
        ),
        (["train", "env.task_ids=0,1"], "expected a list, e.g. 'env.task_ids=[0,1]' (quoted for the shell)"),
        (["train", "--resume=auto"], "expected key=value without dashes, e.g. resume=..."),
        (["record", "libero_goal", "--image-size", "64"], "without dashes, e.g. image_size=..."),
        (["cache", "--clear"], "'--clear': expected key=value without dashes, e.g. clear=..."),
        (["tasks", "libero_goal", "libero_10"], "'libero_10': expected key=value"),
        (["record"], "suite: name what to record, e.g. `ttrl record libero_object`"),
        (["convert"], "data: name what to convert and where to, e.g. `ttrl convert demos/"),
        (["convert", "demos"], "output_dir: name what to convert and where to"),
        (["convert", "demos", "."], "output_dir: expected a folder that does not exist yet, got ."),
        (["convert", "demos", "new", "repo_id=me"], "repo_id: expected owner/name, got 'me'"),
        (["demo", "n_sample=4"], "Did you mean 'n_samples'"),
        (["demos", "libero_goal"], "demos has another name now: `ttrl record SUITE`"),
        (["eval", "checkpoint=nowhere"], "checkpoint: there is no folder 'nowhere'"),
        (["train", "resume=nowhere"], "nowhere: expected a checkpoint"),
        (["train", "policy.path=nowhere"], "policy.path: there is no folder 'nowhere'"),
        (["train", "policy.path=~nobody-here/x"], "policy.path: there is no folder '~nobody-here/x'"),
        (["train", "resume=~nobody-here/x"], "~nobody-here/x: expected a checkpoint"),
    ],
)
def test_a_mistake_is_explained_and_fails(arguments, message, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_named_without_a_traceback(capsys, tmp_path, monkeypatch) -> None:
    from ttrl_env.agents.commands import cache

    monkeypatch.setattr(cache, "run", lambda arguments: (tmp_path / "missing" / "file").write_text(""))
    assert main(["cache"]) == 1
    assert capsys.readouterr().err == f"ttrl cache: {tmp_path}/missing/file: No such file or directory\n"


def test_tasks_are_listed_with_ids_and_instructions(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["tasks"]) == 0
    assert "ttrl_env/Libero90-v0" in capsys.readouterr().out
    assert main(["tasks", "libero_goal"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    assert any(line.startswith("7 ") and "turn on the stove" in line for line in lines)


def test_tasks_are_listed_whole_where_there_is_no_terminal(capsys, monkeypatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert main(["tasks", "libero_10"]) == 0
    name = "KITCHEN_SCENE4_put_the_black_bowl_in_the_bottom_drawer_of_the_cabinet_and_close_it"
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("3 ")]
    assert line.rstrip().endswith(name)


def test_robotwins_tasks_are_listed_where_libero_is_not_installed(capsys, monkeypatch) -> None:
    def missing() -> None:
        raise MissingDependencyError("LIBERO is not installed")

    monkeypatch.setattr(libero_tasks, "_libero", missing)
    assert main(["tasks"]) == 0
    assert "ttrl_env/RoboTwin-v0" in capsys.readouterr().out
    assert main(["tasks", "robotwin", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == 50
    assert listed[45]["name"] == "stack_blocks_two"
    assert listed[45]["horizon"] == 400


def test_recording_refuses_a_suite_of_robotwin_by_name(capsys) -> None:
    assert main(["record", "robotwin"]) == 2
    assert "suite: expected a suite of LIBERO, got 'robotwin'" in capsys.readouterr().err


def test_programs_read_the_tasks_as_json(capsys) -> None:
    assert main(["tasks", "--json"]) == 0
    suites = {suite["suite"]: suite for suite in json.loads(capsys.readouterr().out)}
    assert suites["libero_90"]["environment_id"] == "ttrl_env/Libero90-v0"
    assert main(["tasks", "libero_goal", "json=true"]) == 0
    assert json.loads(capsys.readouterr().out)[7]["instruction"] == "turn on the stove"
    assert main(["cache", "--json"]) == 2  # which has no such key
    assert "'--json': expected key=value without dashes" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["record", "libero_goal"], ["tasks", "libero_goal"]])
def test_the_subject_of_a_command_is_short_for_its_key(command, capsys) -> None:
    assert main([*command, "--cfg"]) == 0
    short = capsys.readouterr().out
    assert main([command[0], "--cfg", "suite=libero_goal"]) == 0
    assert short == capsys.readouterr().out
    assert "suite: libero_goal" in short


def test_the_subject_may_be_a_folder_whose_name_holds_an_equals_sign(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=1").mkdir()
    assert main(["doctor", "lr=1", "--cfg"]) == 0
    assert "path: lr=1" in capsys.readouterr().out


def test_the_cache_of_compiled_tasks_is_shown_and_cleared(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TTRL_CACHE", str(tmp_path))
    whole, unfinished = (tmp_path / "bundles" / f"libero_goal-{task}-{16 * '0'}" for task in (0, 1))
    whole.mkdir(parents=True)
    (whole / "bundle.npz").write_bytes(b"0" * 100)
    unfinished.mkdir()
    assert main(["cache"]) == 0
    assert f"1 compiled tasks, 0.0 GB, in {tmp_path}" in capsys.readouterr().out
    assert main(["cache", "clear=true"]) == 0
    assert "1 compiled tasks deleted" in capsys.readouterr().out
    assert not any((tmp_path / "bundles").iterdir())


def test_the_module_runs_like_the_command() -> None:
    command = [sys.executable, "-m", "ttrl_env.agents", "train", "env.n_sampels=3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("ttrl train: 'env.n_sampels=3': no such key")


@pytest.mark.parametrize(("encoding", "reader"), [("utf-8", "true"), ("ascii", "cat")])
@pytest.mark.slow
def test_output_is_written_as_far_as_it_is_read(encoding: str, reader: str) -> None:
    """Into a pipe that nobody reads, and onto a terminal that knows ASCII only."""
    program = "import sys; from ttrl_env.agents.cli import main; sys.exit(main(['tasks', 'libero_90']))"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(program)} | {reader}"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
