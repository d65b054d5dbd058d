"""``ttrl preview``: what is played, what its sentences claim, interrupting and going on."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.agents.reach import ReachEngine, make_tiny_policy
from ttrl_env.agents.cli import main
from ttrl_env.agents.commands.preview import show
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.evaluation.intervals import wilson_interval
from ttrl_env.agents.preview.config import PreviewConfig
from ttrl_env.agents.preview.outcomes import Outcomes
from ttrl_env.agents.preview.play import plan
from ttrl_env.agents.preview.run import preview
from ttrl_env.agents.preview.summary import summarise
from ttrl_env.agents.rollout.assignments import InTurnDealer
from ttrl_env.errors import ConfigError

QUIET = Display(Console(quiet=True))

LADDER = np.linspace(0.6, 0.9, 4, dtype=np.float32)


@pytest.fixture(scope="module")
def policies(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("policies")
    for name, forward in {"half": 0.4, "never": -20.0, "always": 20.0}.items():
        policy = make_tiny_policy(0)
        policy.head.bias.data[:128] += forward  # tokens that move the point towards its goal
        policy.save_pretrained(folder / name)
    return folder


def configure(policies: Path, name: str, *overrides: str) -> PreviewConfig:
    base = [
        f"policy.path={policies / name}",
        "test_time_rl=true",
        "env.suite=libero_spatial",
        "env.image_size=16",
        "env.max_steps=24",
        "env.n_samples=4",
        "preview.states_per_task=3",
    ]
    return load_config(PreviewConfig, [*base, *overrides])


def look(config: PreviewConfig, engine=ReachEngine) -> dict:
    return preview(config, QUIET, engine)


def outcomes(*groups: str, num_tasks: int = 1) -> Outcomes:
    """Groups of four episodes: ``s`` succeeds in ten steps, ``q`` in five, ``f`` fails."""
    success = np.array([[each != "f" for each in group] for group in groups])
    return Outcomes(
        task_ids=np.arange(len(groups)) % num_tasks,
        init_state_ids=np.arange(len(groups)),
        temperatures=LADDER,
        success=success,
        steps=np.array([[{"s": 10, "q": 5, "f": 20}[each] for each in group] for group in groups]),
        diverged=np.zeros_like(success),
        max_steps=20,
    )


def report_of(played: Outcomes, *overrides: str, kind: str = "tiny_vla") -> dict:
    config = load_config(
        PreviewConfig, ["test_time_rl=true", "env.num_groups=8", "env.n_samples=4", *overrides]
    )
    settings = {"suite": "libero_spatial", "max_steps": 20}
    return summarise(played, config, kind=kind, settings=settings, seconds_per_episode=1.5)


def told(report: dict) -> str:
    return " ".join([*report["statements"], *report["advice"]])


def test_it_plays_the_states_that_the_run_deals_first_and_none_held_out(policies) -> None:
    config = configure(policies, "half", "env.task_ids=[0,3]", "env.num_groups=4")
    starts = [start for rollout in plan(config) for start in rollout.starts]
    dealt = [InTurnDealer(config).deal(draw) for draw in (0, 1)]
    run = [pair for each in dealt for pair in zip(each.task_ids, each.init_state_ids, strict=True)]
    assert starts == run[:6]
    assert [task for task, _ in starts] == [0, 3] * 3
    assert len(set(starts)) == 6
    assert all(state < 40 for _, state in starts)


def test_episodes_from_one_state_are_not_taken_for_independent() -> None:
    clustered = report_of(outcomes("ssss", "ffff", "ssss", "ffff"))
    assert clustered["success_rate_interval_95"] == pytest.approx(wilson_interval(2, 4))
    spread = report_of(outcomes("sffs", "fssf", "ssff", "ffss"))
    assert spread["success_rate_interval_95"] == pytest.approx(wilson_interval(8, 16))


def test_more_states_than_a_task_has_are_played_once_each(policies) -> None:
    config = configure(policies, "half", "preview.states_per_task=100")
    starts = [start for rollout in plan(config) for start in rollout.starts]
    assert sorted(starts) == [(0, state) for state in range(40)]


def test_a_preview_tells_tasks_temperatures_and_states(policies) -> None:
    report = look(configure(policies, "half"))
    assert report["num_episodes"] == 12
    assert 0 < report["num_successes"] < 12
    assert [each["temperature"] for each in report["temperatures"]] == pytest.approx(LADDER)
    assert sum(each["num_successes"] for each in report["temperatures"]) == report["num_successes"]
    assert sum(sum(each["success"]) for each in report["groups"]) == report["num_successes"]
    assert report["run"]["seconds_per_episode"] > 0


def test_groups_left_out_of_the_last_rollout_change_no_other(policies) -> None:
    alone = look(configure(policies, "half", "env.num_groups=2", "preview.states_per_task=2"))
    longer = look(configure(policies, "half", "env.num_groups=2", "preview.states_per_task=3"))
    assert longer["groups"][:2] == alone["groups"]
    assert len(longer["groups"]) == 3


@pytest.mark.slow
def test_an_interrupted_preview_goes_on_to_the_same_report(policies, tmp_path) -> None:
    class Interrupted(ReachEngine):
        resets = 0

        def reset(self, rows, task_ids, init_state_ids) -> None:
            Interrupted.resets += 1
            if Interrupted.resets == 3:
                raise KeyboardInterrupt
            super().reset(rows, task_ids, init_state_ids)

    config = configure(policies, "half", f"output={tmp_path / 'part'}")
    with pytest.raises(KeyboardInterrupt):
        look(config, Interrupted)
    assert len((tmp_path / "part/episodes.jsonl").read_text().splitlines()) == 8  # two rollouts of four
    parts = ("groups", "tasks", "temperatures", "teaching", "forecast", "success_rate_interval_95")
    resumed, whole = look(config), look(configure(policies, "half"))
    assert {key: resumed[key] for key in parts} == {key: whole[key] for key in parts}
    assert look(config, engine=None) == resumed  # nothing is left to play
    assert json.loads((tmp_path / "part/preview.json").read_text()) == resumed
    assert (tmp_path / "part/preview.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "part/preview.md").read_text()
    assert all(f"- {statement}" in page for statement in resumed["statements"])


def test_a_policy_that_never_succeeds_is_told_that_nothing_can_be_learnt(
    policies, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(
        "ttrl_env.vector_env.make_engine",
        lambda choice, config: choice(config) if callable(choice) else ReachEngine(config),
    )
    arguments = [f"policy.path={policies / 'never'}", "test_time_rl=true", "env.suite=libero_spatial"]
    small = ["env.image_size=16", "env.max_steps=16", "env.n_samples=4", "preview.states_per_task=2"]
    assert main(["preview", *arguments, *small]) == 0
    said = capsys.readouterr().out
    assert "Nothing can be learnt" in said
    assert "0 % at T = 0.6, 0 % at T = 0.7, 0 % at T = 0.8, 0 % at T = 0.9" in said
    assert "env.max_steps=16; the suite's own is 220" in said
    assert "docs/demonstrations.md" in said
    assert "Episodes until" not in said


def test_a_policy_that_always_succeeds_has_only_steps_to_gain(policies) -> None:
    report = look(configure(policies, "always"))
    assert report["success_rate"] == 1.0
    steps = [step for group in report["groups"] for step in group["steps"]]
    assert f"nothing to gain but steps: successes take {min(steps)} to {max(steps)}" in told(report)
    assert "no episodes are needed to get there" in told(report)
    assert report["advice"] == []


def test_binary_rewards_have_no_spread_where_all_succeed() -> None:
    played = outcomes("ssqs", "ssss", "ffff", "sfff")
    teaching = report_of(played)["teaching"]
    assert (teaching["mixed"], teaching["always_fail"], teaching["always_succeed"]) == (1, 1, 2)
    assert teaching["with_spread"] == {"env_sparse": 1, "efficiency": 2}
    assert teaching["groups_learnt_from_per_update"] == pytest.approx(8 * 2 / 4)
    binary = report_of(played, "test_time_rl=false")["teaching"]
    assert binary["groups_learnt_from_per_update"] == pytest.approx(8 * 1 / 4)
    assert report_of(played, "ppo.advantage=critic")["teaching"]["groups_learnt_from_per_update"] == 8
    filtered = report_of(played, "rollout.filter_accuracy=true")["teaching"]
    assert filtered["groups_learnt_from_per_update"] == pytest.approx(8 * 1 / 4)
    assert "Binary rewards do not see steps" in told(report_of(outcomes("ssss"), "test_time_rl=false"))


def test_a_forecast_comes_with_its_range_its_evidence_and_how_far_the_run_is_from_it() -> None:
    played = outcomes("sfff", "ssff", "ffff", "sssf", "sfsf", "ffff", "sfff", "ssff")
    alike = report_of(played, "ppo.epochs=4")
    assert "and more than" in told(alike)
    assert "runs of our own" in told(alike)
    assert "No run like this one was measured" not in told(alike)
    other = report_of(played, "ppo.epochs=1", "env.num_groups=1", "ppo.advantage=rloo")
    assert "ppo.advantage=rloo, measured critic and grpo" in told(other)
    assert "ppo.epochs=1, measured 4" in told(other)
    assert "env.num_groups * env.n_samples=4, measured 32" in told(other)


def test_what_was_never_measured_gets_no_number() -> None:
    rare = outcomes(*["ffff"] * 39, "sfff")
    groups = ("ssff", "sfff")
    other_kind = report_of(outcomes(*groups), kind="openvla")
    more_tasks = report_of(outcomes(*groups, num_tasks=2), "env.task_ids=[0,1]", "ppo.epochs=4")
    for report in (report_of(rare), other_kind, more_tasks):
        assert "outside what was measured" in told(report)
        assert report["forecast"]["episodes"] is None
        assert "runs alike" not in told(report)


def test_the_table_has_a_mark_for_every_episode() -> None:
    console = Console(file=io.StringIO(), width=160, highlight=False)
    report = report_of(outcomes("sfff", "ssff"))
    show(report, console)
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert "#..." in said
    assert "##.." in said
    assert all(statement in " ".join(said.split()) for statement in report["statements"])


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["preview.states_per_tasks=3"], "Did you mean 'preview.states_per_task'"),
        (["env.n_sampels=3"], "Did you mean 'env.n_samples'"),
        (["preview.states_per_task=0"], "preview.states_per_task: expected"),
        (["policy.path=nowhere"], "policy.path: there is no folder 'nowhere'"),
        (["resume=nowhere"], "nowhere: expected a checkpoint"),
    ],
)
def test_mistakes_are_answered_as_by_train(arguments, answer, capsys) -> None:
    assert main(["preview", *arguments]) == 2
    assert answer in capsys.readouterr().err


@pytest.mark.slow
def test_a_folder_of_another_preview_is_refused(policies, tmp_path) -> None:
    output = f"output={tmp_path / 'report'}"
    look(configure(policies, "always", output))
    with pytest.raises(Exception, match="holds another preview"):
        look(configure(policies, "always", output, "seed=1"))


def test_robotwin_is_refused_by_name() -> None:
    config = load_config(PreviewConfig, ["env.task_ids=[stack_blocks_two]"])
    with pytest.raises(ConfigError, match=r"env\.suite: a preview's forecast .* got robotwin"):
        preview(config)
