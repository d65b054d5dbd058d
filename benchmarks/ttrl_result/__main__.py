"""Run or continue the experiment: each arm from each seed, one after the other.

Finished runs are kept, and interrupted ones continue. The table and figures are then made from all results.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.ttrl_result.arms import ARMS
from benchmarks.ttrl_result.families import FAMILIES
from benchmarks.ttrl_result.figure import plot
from benchmarks.ttrl_result.run import RESULT_FILE, run, settings
from benchmarks.ttrl_result.table import markdown
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.training.metrics import read_records
from ttrl_env.errors import TTRLError
from ttrl_env.libero_version import installed_mujoco, same_libero
from ttrl_env.machine.whole_files import write_whole

RESULTS_FILE = "results.jsonl"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment of the command line; returns the process's exit code."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)  # steady on a busy machine (docs/findings/threads-of-small-networks.md)
    transformers.logging.disable_progress_bar()
    display = Display()
    try:
        # seed by seed, so that an unfinished experiment has every arm
        for seed in options.seeds:
            for family in options.families:
                for arm in options.arms or FAMILIES[family].arms:
                    folder = options.runs / family / f"{arm}_seed{seed}"
                    display.say(f"{family}, {ARMS[arm].title}, seed {seed}: {folder}")
                    iterations = options.iterations or FAMILIES[family].iterations
                    run(FAMILIES[family], ARMS[arm], seed, folder, iterations, display)
                    report(options.runs, options.results)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    except TTRLError as error:
        print(f"ttrl_result: {error}", file=sys.stderr)
        return 1
    display.say((options.results / "table.md").read_text(encoding="utf-8"))
    return 0


def report(runs: Path, results: Path) -> None:
    """Write results as JSON lines and as a table, and plot the arms that each family runs by default.

    The results are the finished runs in ``runs``, and those of an earlier report in ``results`` that were
    made with the current settings.
    """
    earlier = [result for result in read_results(results) if _is_current(result)]
    finished = [_read(file) for file in sorted(runs.glob(f"*/*/{RESULT_FILE}"))]
    by_run = {(each["family"], each["arm"], each["seed"]): each for each in [*earlier, *finished]}
    ordered = [by_run[run] for run in sorted(by_run)]
    results.mkdir(parents=True, exist_ok=True)
    write_whole(results / RESULTS_FILE, "".join(json.dumps(result) + "\n" for result in ordered))
    write_whole(results / "table.md", markdown(ordered))
    for family in sorted(
        {each["family"] for each in ordered if each["arm"] in FAMILIES[each["family"]].arms}
    ):
        plot(ordered, family, results / f"{family}.png")


def read_results(results: Path) -> list[dict[str, Any]]:
    """The results in a report; empty if there is no report yet."""
    return read_records(results, RESULTS_FILE) if (results / RESULTS_FILE).is_file() else []


def _is_current(result: dict[str, Any]) -> bool:
    """Whether a result was made with the current settings."""
    family, arm = FAMILIES.get(result["family"]), ARMS.get(result["arm"])
    if family is None or arm is None:
        return False
    protocol = result["protocol"]
    played = [protocol[key] for key in ("suite", "task_ids", "max_steps", "repeats")]
    return (
        result["iterations"] == family.iterations
        and result["overrides"] == settings(family, arm)
        and same_libero(result["versions"]["mujoco"], installed_mujoco())
        and played == [family.suite, list(family.task_ids), family.max_steps, family.repeats]
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ttrl_result", description=__doc__)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES), help="tasks")
    parser.add_argument(
        "--arms",
        nargs="+",
        choices=ARMS,
        help="ways of adapting; default: the family's",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default 0 1 2")
    parser.add_argument("--iterations", type=int, help="updates a run; default: the family's")
    parser.add_argument("--runs", type=Path, default=Path("runs/ttrl_result"), help="default %(default)s")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("benchmarks/results/ttrl_result"),
        help="where results, table and figures go; default %(default)s",
    )
    return parser


def _read(file: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return result


if __name__ == "__main__":
    sys.exit(main())
