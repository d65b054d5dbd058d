"""Evaluation reports: what is played, what is written, and what the sentences claim."""

from __future__ import annotations

import io
import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import imageio.v3 as imageio
import pytest
from rich.console import Console

from tests.agents.reach import ReachEngine, make_tiny_policy
from ttrl_env import libero_version
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.config.schema import EvaluateConfig, TrainConfig
from ttrl_env.agents.evaluation.episode_queue import Episode
from ttrl_env.agents.evaluation.evaluate import Evaluation
from ttrl_env.agents.evaluation.reports.comparison import compare
from ttrl_env.agents.evaluation.reports.episode_log import EpisodeLog
from ttrl_env.agents.evaluation.reports.evaluated_policy import EvaluatedPolicy
from ttrl_env.agents.evaluation.reports.figure import plot
from ttrl_env.agents.evaluation.reports.markdown import markdown
from ttrl_env.agents.evaluation.reports.measured import measured_in_report
from ttrl_env.agents.evaluation.reports.run import evaluate_checkpoints
from ttrl_env.agents.evaluation.reports.statements import statements
from ttrl_env.agents.evaluation.reports.summary import summarise
from ttrl_env.agents.policies import load_policy
from ttrl_env.agents.policies.provenance import Cloning, Demonstrated, Provenance, cloning
from ttrl_env.agents.training.train import train
from ttrl_env.errors import ConfigError
from ttrl_env.libero_version import installed_mujoco, is_published
from ttrl_env.tasks import get_task

pytestmark = pytest.mark.slow

QUIET = Display(Console(quiet=True))

TRAINED = Provenance(suite="libero_spatial", task_ids=(0,), iteration=3, started_from=None)


CLONED = Cloning(
    tasks=(
        Demonstrated(
            suite="libero_spatial",
            task=get_task("libero_spatial", 0).name,
            num_episodes=30,
            init_state_ids=(37, 38),
        ),
    )
)


@pytest.fixture(scope="module")
def policies(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("policies")
    for seed, (name, forward) in enumerate({"before": 0.0, "after": 0.4}.items()):
        policy = make_tiny_policy(seed)
        policy.head.bias.data[:128] += forward  # tokens that move the point towards its goal
        policy.save_pretrained(folder / name)
    return folder


def configure(policies: Path, *overrides: str) -> EvaluateConfig:
    base = [
        f"checkpoint={policies / 'after'}",
        "env.image_size=16",
        "env.max_steps=24",
        "eval.episodes_per_task=3",
        "eval.temperatures=[0,1.0]",
        "eval.repeats=2",
    ]
    return load_config(EvaluateConfig, [*base, *overrides])


def played(outcomes: str, task_id: int = 0, first_state: int = 40) -> list[Episode]:
    """Episodes by letter: ``s`` succeeds in ten steps, ``f`` fails."""
    return [
        Episode(task_id=task_id, init_state_id=first_state + k, repeat=0, success=o == "s", finish_step=10)
        for k, o in enumerate(outcomes)
    ]


def evaluation(episodes: list[Episode], init_states: str = "held_out") -> Evaluation:
    return Evaluation(
        suite="libero_spatial", init_states=init_states, temperature=0.0, max_steps=20, episodes=episodes
    )


def subject(
    name: str, episodes: list[Episode], trained_on: Provenance | None = TRAINED, **kwargs
) -> EvaluatedPolicy:
    return EvaluatedPolicy(
        name=name, policy="p", provenance=trained_on, evaluations=[evaluation(episodes, **kwargs)]
    )


def test_a_report_folder_holds_numbers_text_picture_and_videos(policies, tmp_path) -> None:
    config = configure(policies, f"output={tmp_path / 'report'}", "env.task_ids=[0,1]")
    report = evaluate_checkpoints(config, QUIET, ReachEngine)
    assert json.loads((tmp_path / "report/report.json").read_text()) == report
    greedy, sampled = report["evaluations"]
    on_card = measured_in_report(tmp_path / "report", policies / "after")
    assert [each.success_rate for each in on_card] == [greedy["success_rate"], sampled["success_rate"]]
    assert [greedy["num_episodes"], sampled["num_episodes"]] == [6, 12]
    assert [task["task_id"] for task in greedy["tasks"]] == [0, 1]
    text = (tmp_path / "report/report.md").read_text()
    assert all(statement in text for statement in report["statements"])
    assert imageio.imread(tmp_path / "report/report.png").std() > 1
    titles = " ".join(video["title"] for video in report["videos"])
    assert "sampled at T = 1" in titles
    assert "success after" in titles
    assert "failure" in titles
    for video in report["videos"]:
        assert f"]({video['file']})" in text
        frames = imageio.imread(tmp_path / "report" / video["file"])
        steps = re.search(r"success after (\d+) steps", video["title"])
        expected = int(steps[1]) if steps else config.env.max_steps
        assert expected is not None
        assert len(frames) == expected + 1 + 20  # every step, the end, and one second of it
    assert not [file for file in tmp_path.rglob(".*") if file.is_file()]  # no drafts are left


def test_an_interrupted_evaluation_goes_on_where_it_stopped(policies, tmp_path, monkeypatch) -> None:
    whole = evaluate_checkpoints(configure(policies), QUIET, ReachEngine)
    config = configure(policies, f"output={tmp_path}/r", "videos=0")
    add, kept = EpisodeLog.add, []

    def add_five(self, *episode):
        if len(self) == 5:
            raise KeyboardInterrupt
        add(self, *episode)

    monkeypatch.setattr(EpisodeLog, "add", add_five)
    with pytest.raises(KeyboardInterrupt):
        evaluate_checkpoints(config, QUIET, ReachEngine)
    with (tmp_path / "r/episodes.jsonl").open("a") as file:
        file.write('{"checkpoint": "chec')  # as a killed process leaves it

    def add_and_keep(self, *episode):
        kept.append(episode)
        add(self, *episode)

    monkeypatch.setattr(EpisodeLog, "add", add_and_keep)
    other_rows = replace(config, num_envs=7)
    assert evaluate_checkpoints(other_rows, QUIET, ReachEngine)["evaluations"] == whole["evaluations"]
    assert len(kept) == 9 - 5

    class NoEngine(ReachEngine):
        def reset(self, *arguments):
            raise AssertionError("nothing is left to play")

    assert evaluate_checkpoints(config, QUIET, NoEngine)["evaluations"] == whole["evaluations"]


def test_the_folder_of_another_evaluation_is_refused(policies, tmp_path) -> None:
    config = configure(policies, f"output={tmp_path}/r", "videos=0")
    evaluate_checkpoints(config, QUIET, ReachEngine)
    with pytest.raises(ConfigError, match=r"holds another evaluation \(seed: there 0, now 1\)"):
        evaluate_checkpoints(replace(config, seed=1), QUIET, ReachEngine)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").touch()
    with pytest.raises(ConfigError, match="not empty and holds no evaluation"):
        evaluate_checkpoints(replace(config, output=str(tmp_path / "full")), QUIET, ReachEngine)
    with pytest.raises(ConfigError, match="expected a folder, got the file"):
        evaluate_checkpoints(replace(config, output=str(tmp_path / "full/thesis.tex")), QUIET, ReachEngine)
    with (
        EpisodeLog(tmp_path / "busy", {}),
        pytest.raises(ConfigError, match="another process"),
        EpisodeLog(tmp_path / "busy", {}),
    ):
        pass


def test_episodes_of_two_worlds_are_not_compared(policies, tmp_path, monkeypatch) -> None:
    config = configure(policies, f"output={tmp_path}/r", "videos=0")
    report = evaluate_checkpoints(config, QUIET, ReachEngine)
    mujoco = installed_mujoco()
    assert report["world"] == {"mujoco": mujoco, "published": is_published(mujoco)}
    assert report["statements"][0].startswith("World: ")
    monkeypatch.setattr(libero_version, "installed_mujoco", lambda: "99.1.0")
    refusal = rf"\(mujoco: there {mujoco}, now 99.1.0; .* Success in two versions of LIBERO does not"
    with pytest.raises(ConfigError, match=refusal):
        evaluate_checkpoints(replace(config, baseline=str(policies / "before")), QUIET, ReachEngine)


def test_the_world_is_said_before_anything_is_played(policies) -> None:
    class NoEngine(ReachEngine):
        def reset(self, *arguments):
            raise KeyboardInterrupt

    said = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        evaluate_checkpoints(configure(policies), Display(Console(file=said)), NoEngine)
    assert said.getvalue().startswith("World: ")
    assert installed_mujoco() in said.getvalue()


def test_a_folder_without_an_episode_belongs_to_nobody(tmp_path) -> None:
    with EpisodeLog(tmp_path / "r", {"seed": 0}):
        pass
    with EpisodeLog(tmp_path / "r", {"seed": 1}) as log:
        log.add("checkpoint", 0.0, played("s")[0])
    assert json.loads((tmp_path / "r/command.json").read_text()) == {"seed": 1}
    with pytest.raises(ConfigError, match="seed: there 1, now 0"):
        EpisodeLog(tmp_path / "r", {"seed": 0})


def test_two_checkpoints_are_compared_on_the_same_episodes(policies, tmp_path) -> None:
    config = configure(policies, f"baseline={policies / 'before'}", f"output={tmp_path}/r")
    report = evaluate_checkpoints(config, QUIET, ReachEngine)
    assert [(e["checkpoint"], e["temperature"]) for e in report["evaluations"]] == [
        ("baseline", 0.0),
        ("baseline", 1.0),
        ("checkpoint", 0.0),
        ("checkpoint", 1.0),
    ]
    before, after = report["evaluations"][1], report["evaluations"][3]
    sampled = report["comparisons"][1]
    assert sampled["difference"] == pytest.approx(after["success_rate"] - before["success_rate"])
    assert sampled["num_pairs"] == 6
    for video in report["videos"]:
        assert imageio.imread(tmp_path / "r" / video["file"]).shape[2] == 2 * 16  # side by side
        assert video["title"].startswith("baseline")


def test_a_baseline_must_be_another_policy(policies) -> None:
    with pytest.raises(ConfigError, match="baseline: expected another policy"):
        evaluate_checkpoints(configure(policies, f"baseline={policies / 'after'}"), QUIET, ReachEngine)


def test_an_image_size_that_the_policy_cannot_see_is_named(policies) -> None:
    with pytest.raises(ConfigError, match=r"env\.image_size"):
        evaluate_checkpoints(configure(policies, "env.image_size=20"), QUIET, ReachEngine)


def test_a_difference_is_claimed_only_if_its_interval_excludes_zero() -> None:
    clear = compare(evaluation(played("ffffffffff")), evaluation(played("ssssssssff")))
    assert (clear.difference, clear.verdict) == (0.8, "higher")
    assert clear.interval[0] > 0
    unclear = compare(evaluation(played("fffff")), evaluation(played("sffff")))
    assert unclear.verdict == "no difference shown"
    text = " ".join(statements([subject("baseline", played("fffff"))], [unclear]))
    assert "the interval includes 0, so these episodes show no difference" in text
    assert "more often" not in text


def test_evaluations_of_different_episodes_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same episodes"):
        compare(evaluation(played("ss")), evaluation(played("sss")))


def test_states_that_training_drew_from_are_reported_apart() -> None:
    episodes = [*played("ssss", first_state=36), *played("sfff", first_state=40)]
    report = summarise([subject("checkpoint", episodes, init_states="all")], {"max_steps": 20})
    entry = report["evaluations"][0]
    assert entry["on_training_states"]["success_rate"] == 1.0
    assert entry["on_other_states"]["success_rate"] == 0.25
    text = " ".join(report["statements"])
    assert "draws from 4 of the 8 initial states played" in text
    assert "published 50-state protocol" in text


def test_states_are_not_told_apart_where_the_training_was_on_another_suite() -> None:
    other = replace(TRAINED, suite="libero_spatial_lan")
    report = summarise([subject("checkpoint", played("sf"), other)], {"max_steps": 20})
    assert report["evaluations"][0]["on_training_states"] is None
    assert report["evaluations"][0]["on_other_states"] is None


@pytest.mark.parametrize(
    ("trained_on", "claim"),
    [
        (None, "does not say what the policy was trained on"),
        (TRAINED, "draws from none of the 3 initial states"),
        (replace(TRAINED, iteration=0), "no update has been made yet"),
        (replace(TRAINED, started_from="runs/sft"), "Of what trained runs/sft"),
        (replace(TRAINED, suite="libero_spatial_lan"), "so none is called unseen"),
    ],
)
def test_unseen_is_said_only_of_what_is_known(trained_on, claim) -> None:
    assert claim in " ".join(statements([subject("checkpoint", played("sss"), trained_on)], []))


def test_a_cloned_policy_says_what_it_has_seen() -> None:
    def said(cloned: Cloning, known: Provenance | None = None, first_state: int = 40) -> str:
        played_by = subject("checkpoint", played("sss", first_state=first_state), known)
        return statements([replace(played_by, cloning=cloned)], [])[-1]

    assert "cloned from 30 demonstrations, which start from none of the 3 initial" in said(CLONED)
    assert "which start from 1 of the 3 initial states" in said(CLONED, first_state=38)
    both = said(CLONED, replace(TRAINED, started_from="runs/sft"))
    assert "its training draws from none of the 3 initial states played. Before that it was cloned" in both
    assert "nothing is known" not in both
    (task,) = CLONED.tasks
    assert "so none of the states" in said(Cloning(tasks=(task, replace(task, init_state_ids=None))))
    assert "LIBERO-PRO" in said(Cloning(tasks=(replace(task, suite="libero_object"),)))
    elsewhere = Cloning(tasks=(replace(task, task="another_task"),))
    assert "from none of the 3" in said(elsewhere, first_state=38)


def test_states_of_demonstrations_are_reported_apart() -> None:
    cloned = replace(subject("baseline", played("sfss", first_state=37), None), cloning=CLONED)
    report = summarise([cloned], {"max_steps": 20})
    assert report["evaluations"][0]["on_training_states"]["num_episodes"] == 2
    assert report["evaluations"][0]["on_other_states"]["num_episodes"] == 2


def test_the_demonstrations_stay_with_the_policy(tmp_path) -> None:
    policy = make_tiny_policy()
    policy.save_pretrained(tmp_path / "unknown")
    assert cloning(tmp_path / "unknown") is None
    policy.config.demonstrations = [{**asdict(CLONED.tasks[0]), "init_state_ids": [37, 38]}]
    policy.save_pretrained(tmp_path / "cloned")
    load_policy(tmp_path / "cloned").save_pretrained(tmp_path / "trained")
    assert cloning(tmp_path / "trained") == CLONED


def test_diverged_simulations_are_counted() -> None:
    broken = replace(played("f")[0], failure="NaN in qpos")
    text = " ".join(
        statements([subject("checkpoint", [*played("ss"), replace(broken, init_state_id=49)])], [])
    )
    assert "1 episodes ended because their simulation diverged" in text


def test_a_trained_run_says_what_it_was_trained_on(tmp_path) -> None:
    settings = ("env.max_steps=8", "env.image_size=16", "policy.image_size=16", "policy.hidden_size=32")
    config = load_config(
        TrainConfig, [*settings, f"output_dir={tmp_path}/run", "iterations=1", "env.task_ids=[1]"]
    )
    train(config, QUIET, ReachEngine)
    overrides = [
        f"checkpoint={tmp_path}/run",
        "env.image_size=16",
        "env.task_ids=[1,2]",
        "eval.init_states=all",
    ]
    report = evaluate_checkpoints(load_config(EvaluateConfig, overrides), QUIET, ReachEngine)
    assert report["checkpoints"]["checkpoint"]["trained_on"]["task_ids"] == [1]
    assert report["evaluations"][0]["on_training_states"]["num_episodes"] == 40  # of task 1
    assert report["evaluations"][0]["on_other_states"]["num_episodes"] == 60


def test_many_tasks_are_drawn_and_written(tmp_path) -> None:
    episodes = [episode for task_id in range(10) for episode in played("sfs", task_id)]
    subjects = [subject("baseline", episodes), subject("checkpoint", episodes)]
    protocol = {"suite": "libero_spatial", "init_states": "held_out", "max_steps": 20}
    report = summarise(subjects, protocol)
    plot(report, tmp_path / "report.png")
    assert imageio.imread(tmp_path / "report.png").shape[0] > 400
    rows = [line for line in markdown(report).splitlines() if line.startswith("| 9 | ")]
    assert len(rows) == 3  # baseline, checkpoint, difference
    assert "about 0.5 would show a difference by chance" in markdown(report)


def test_the_guide_explains_every_key_of_the_report(policies, tmp_path) -> None:
    guide = (Path(__file__).parents[3] / "docs/guide.md").read_text(encoding="utf-8")
    section = guide.partition("## The evaluation report")[2].partition("\n## ")[0]
    explained = set(re.findall(r"`([a-z_0-9]+)`", section))
    config = configure(policies, f"baseline={policies / 'before'}", f"output={tmp_path}/r")
    report = evaluate_checkpoints(config, QUIET, ReachEngine)

    def keys(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value) | set().union(*map(keys, value.values()))
        return set().union(*map(keys, value)) if isinstance(value, list) else set()

    report["checkpoints"]["baseline"]["cloned_from"] = [asdict(each) for each in CLONED.tasks]
    report["versions"] = {}
    report["checkpoints"]["checkpoint"]["trained_on"] = {
        "suite": "",
        "task_ids": [],
        "iteration": 0,
        "started_from": None,
    }
    assert keys(report) - explained == set()
