"""The experiment's table and figure: true to the results they are made from, and shown as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from benchmarks.ttrl_result.__main__ import main, read_results, report
from benchmarks.ttrl_result.arms import ARMS
from benchmarks.ttrl_result.curve import episodes_to, held_out_curve
from benchmarks.ttrl_result.families import FAMILIES, Family
from benchmarks.ttrl_result.figure import plot
from benchmarks.ttrl_result.rates import rate
from benchmarks.ttrl_result.run import RESULT_FILE, run, settings
from benchmarks.ttrl_result.table import markdown
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.evaluation.intervals import paired_difference_interval, wilson_interval
from ttrl_env.libero_version import installed_mujoco

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
RESULTS = PROJECT / "benchmarks" / "results" / "ttrl_result"


def result(arm: str, seed: int, successes: int, steps: float | None) -> dict[str, Any]:
    """A finished run of 40 episodes, from a policy that succeeds in 10 of them after 70 steps."""

    def evaluation(checkpoint: str, num_successes: int, steps: float | None) -> dict[str, Any]:
        return {
            "checkpoint": checkpoint,
            "temperature": 0.6,
            "num_episodes": 40,
            "num_successes": num_successes,
            "success_rate": num_successes / 40,
            "steps_to_success": steps,
            "episodes": [
                {
                    "task_id": 3,
                    "init_state_id": 40 + number // 4,
                    "repeat": number % 4,
                    "success": number < num_successes,
                    "finish_step": 70,
                }
                for number in range(40)
            ],
        }

    pair = None if steps is None else {"before": 70.0, "after": steps}
    family = FAMILIES["replaced"]
    return {
        "family": family.name,
        "arm": arm,
        "seed": seed,
        "iterations": family.iterations,
        "overrides": settings(family, ARMS[arm]),
        "versions": {"mujoco": installed_mujoco()},
        "protocol": {
            "suite": family.suite,
            "task_ids": list(family.task_ids),
            "max_steps": family.max_steps,
            "repeats": family.repeats,
        },
        "episodes": 64,
        "training_seconds": 120.0,
        "evaluations": [evaluation("baseline", 10, 70.0), evaluation("checkpoint", successes, steps)],
        "comparisons": [{"temperature": 0.6, "steps_where_both_succeed": pair}],
        "training_success": [0.25, 0.5],
        "training_steps_to_success": [70.0, steps],
    }


NO_RESULTS = pytest.mark.skipif(not read_results(RESULTS), reason="no run of the experiment is finished yet")


@NO_RESULTS
def test_the_published_table_is_that_of_the_recorded_results() -> None:
    assert (RESULTS / "table.md").read_text(encoding="utf-8") == markdown(read_results(RESULTS))


@NO_RESULTS
def test_the_readme_opens_with_the_recorded_table() -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8").splitlines()
    main_family = next(iter(FAMILIES))
    table = markdown([each for each in read_results(RESULTS) if each["family"] == main_family]).splitlines()
    missing = [line for line in table if line.startswith("|") and line not in readme]
    assert not missing, "README.md does not show these lines of benchmarks/results/ttrl_result/table.md"


@NO_RESULTS
def test_recorded_runs_have_the_settings_that_the_command_would_use() -> None:
    for each in read_results(RESULTS):
        family, arm = FAMILIES[each["family"]], ARMS[each["arm"]]
        assert each["overrides"] == settings(family, arm)
        assert each["iterations"] == family.iterations == len(each["training_success"])


def row(table: str, title: str) -> list[str]:
    """The cells of a row."""
    return next(line for line in table.splitlines() if title in line).strip("| ").split(" | ")


def test_a_row_has_the_rate_over_seeds_and_mean_steps() -> None:
    table = markdown([result("ttrl", 1, 40, 66.0), result("ttrl", 0, 20, 64.0)])
    _, success, *others = row(table, "ladder and efficiency")
    # the first five states always succeed, the others with seed 1 only: two seeds are worth two trials
    low, high = wilson_interval(1.5, 2)
    assert success == f"75% [{low:.0%}, {high:.0%}]"
    assert others == ["50%, 100%", "", "65.0", "64.0, 66.0", "70.0 → 65.0", "64", "", "2 min"]


def test_seeds_that_agree_make_a_narrower_interval_than_seeds_that_do_not() -> None:
    def width(*successes: int) -> float:
        evaluations = [result("ttrl", 0, each, None)["evaluations"][1] for each in successes]
        _, low, high = rate(evaluations)
        return high - low

    assert width(30, 30, 30) < width(20, 30, 40)
    assert width(40, 40, 40) == pytest.approx(wilson_interval(10, 10)[1] - wilson_interval(10, 10)[0])


def test_arms_are_compared_on_the_same_seeds_and_states() -> None:
    runs = [result("binary", 0, 24, 70.0), result("binary", 1, 20, 70.0)]
    runs += [result("ttrl", 0, 32, 66.0), result("ttrl", 1, 28, 66.0), result("ttrl", 2, 0, None)]
    table = markdown(runs)
    assert row(table, "binary reward")[3] == ""
    points = row(table, "ladder and efficiency")[3]  # seed 2 has no partner
    assert points.startswith("+20 [")
    low, high = (int(each) for each in points.partition("[")[2].rstrip("]").split(","))
    # eight of ten states do not change, the others do for both seeds: worth about ten pairs
    expected = paired_difference_interval(both=5.5, gained=2, lost=0, neither=2.5)
    assert (low / 100, high / 100) == pytest.approx(expected, abs=0.01)
    alone = markdown([result("binary", 0, 24, 70.0), result("ttrl", 1, 32, 66.0)])
    assert row(alone, "ladder and efficiency")[3] == "-"


def test_a_seed_without_success_has_no_steps() -> None:
    table = markdown([result("binary", 0, 0, None), result("binary", 1, 4, 80.0)])
    assert row(table, "binary")[2:7] == ["0%, 10%", "", "80.0", "-, 80.0", "70.0 → 80.0"]


def test_a_family_with_curves_shows_them_and_the_episodes_until_ninety_percent(tmp_path: Path) -> None:
    runs = [
        result("ttrl", seed, 30, 66.0) | {"family": "object", "held_out_curve": curve(2, 8, last)}
        for seed, last in ((0, 10), (1, 8))
    ]
    row = next(line for line in markdown(runs).splitlines() if "ladder and efficiency" in line)
    assert "| 64 | 150, - | 2 min |" in row
    plot(runs, "object", tmp_path / "object.png")
    plot([{**each, "family": "replaced"} for each in runs], "replaced", tmp_path / "replaced.png")
    widths = [plt.imread(tmp_path / f"{name}.png").shape[1] for name in ("object", "replaced")]
    assert widths[0] > widths[1]


def finished_run(runs: Path, result: dict[str, Any]) -> Path:
    """The folder of a run that has ended with ``result``."""
    folder = runs / result["family"] / f"{result['arm']}_seed{result['seed']}"
    folder.mkdir(parents=True)
    (folder / RESULT_FILE).write_text(json.dumps(result), encoding="utf-8")
    return folder


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    finished = result("ttrl", 0, 40, 66.0)
    folder = finished_run(tmp_path, finished)
    assert run(FAMILIES["replaced"], ARMS["ttrl"], 0, folder, 2, Display()) == finished


def test_a_report_adds_to_what_was_reported_before(tmp_path: Path) -> None:
    results = tmp_path / "results"
    first, second, again = (
        result("ttrl", 0, 40, 66.0),
        result("ttrl", 1, 30, 68.0),
        result("ttrl", 0, 39, 65.0),
    )
    for number, each in enumerate((first, second, again)):
        finished_run(tmp_path / str(number), each)
        report(tmp_path / str(number), results)
    assert read_results(results) == [again, second]
    assert {path.name for path in results.iterdir()} == {"results.jsonl", "table.md", "replaced.png"}


def test_a_report_of_variations_alone_has_no_figure(tmp_path: Path) -> None:
    results = tmp_path / "results"
    finished_run(tmp_path / "runs", result("wide", 0, 40, 66.0))
    report(tmp_path / "runs", results)
    assert "ladder from 0.6 to 1.2" in (results / "table.md").read_text(encoding="utf-8")
    assert not list(results.glob("*.png"))


def test_a_report_leaves_out_runs_of_other_settings(tmp_path: Path) -> None:
    results = tmp_path / "results"
    finished_run(tmp_path / "old", result("ttrl", 0, 40, 66.0) | {"iterations": 1})
    finished_run(tmp_path / "old", result("binary", 0, 40, 66.0) | {"versions": {"mujoco": "99.1.0"}})
    report(tmp_path / "old", results)
    new = result("ttrl", 1, 30, 68.0)
    finished_run(tmp_path / "new", new)
    report(tmp_path / "new", results)
    assert read_results(results) == [new]


def test_an_arm_sets_what_its_family_sets_otherwise() -> None:
    training = settings(FAMILIES["known"], ARMS["fours"])
    config = load_config(TrainConfig, training)
    assert (config.env.num_groups, config.env.n_samples, config.ppo.epochs) == (8, 4, 4)
    assert len({override.partition("=")[0] for override in training}) == len(training)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_every_arm_plays_equally_many_episodes(family: Family, arm: str) -> None:
    values = dict(override.split("=") for override in settings(family, ARMS[arm]))
    assert int(values["env.num_groups"]) * int(values["env.n_samples"]) == family.rows_per_update


def test_families_name_arms_that_exist() -> None:
    assert all(arm in ARMS for family in FAMILIES.values() for arm in family.arms)


def curve(*successes: int) -> list[dict[str, Any]]:
    return [
        {"trained_on": 100 * k, "num_episodes": 10, "num_successes": each} for k, each in enumerate(successes)
    ]


def test_a_level_is_reached_where_the_line_between_two_evaluations_crosses_it() -> None:
    assert episodes_to(0.9, curve(2, 8, 10)) == pytest.approx(150)
    assert episodes_to(0.9, curve(9, 2)) == 0
    assert episodes_to(0.9, curve(2, 8, 8)) is None
    assert episodes_to(0.5, curve(2, 7, 3, 8)) == pytest.approx(60)


def test_a_curve_counts_the_episodes_learnt_from_before_each_evaluation(tmp_path: Path) -> None:
    metrics = [{"iteration": k, "rollout/success": [True] * size} for k, size in ((1, 4), (2, 4), (3, 6))]
    evaluations = [{"iteration": k, "num_episodes": 5, "num_successes": k} for k in (0, 2, 3)]
    for name, records in (("metrics.jsonl", metrics), ("evaluations.jsonl", evaluations)):
        (tmp_path / name).write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")
    assert [point["trained_on"] for point in held_out_curve(tmp_path)] == [0, 8, 14]
    assert [point["num_successes"] for point in held_out_curve(tmp_path)] == [0, 2, 3]


def test_unknown_names_are_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--arms", "ttlr"])
    assert "ttrl" in capsys.readouterr().err
