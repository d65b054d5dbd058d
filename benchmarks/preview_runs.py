"""Makes ``agents/preview/measured_runs.jsonl``: the runs that ``ttrl preview`` is calibrated on.

    python -m benchmarks.preview_runs [--results RESULTS.jsonl] [--runs FOLDER ...]

Runs that are in the file already, by name, are replaced; the others stay. ``--runs`` takes folders of
``ttrl train`` and names each after its last two folders; ``--results`` takes the file of
``benchmarks.ttrl_result``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.ttrl_result.families import FAMILIES
from ttrl_env.agents.common.run_folder import find_checkpoint
from ttrl_env.agents.config.choices import TINY_VLA
from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.config.saved_config import saved_config
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.policies.loading import read_kind
from ttrl_env.agents.preview.measured_runs import FILE, MeasuredRun, read_measured_runs
from ttrl_env.agents.training.metrics import METRICS_FILE, read_records
from ttrl_env.machine.whole_files import write_whole
from ttrl_env.tasks import get_suite

ROOT = Path(__file__).parents[1]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, nargs="*", default=[])
    parser.add_argument("--runs", type=Path, nargs="*", default=[])
    given = parser.parse_args(arguments)
    file = ROOT / "agents/preview" / FILE
    runs = {run.name: run for run in read_measured_runs()} if file.is_file() else {}
    for found in (*map(_of_results, given.results), *map(_of_folder, given.runs)):
        runs.update({run.name: run for run in found})
    lines = (json.dumps(asdict(run)) for _, run in sorted(runs.items()))
    write_whole(file, "".join(f"{line}\n" for line in lines))


def _of_results(file: Path) -> Iterator[MeasuredRun]:
    """The runs of ``benchmarks.ttrl_result``, all of TinyVLA."""
    for line in file.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        config = load_config(TrainConfig, record["overrides"])
        size, protocol = config.env.num_groups * config.env.n_samples, record["protocol"]
        yield MeasuredRun(
            policy=FAMILIES[record["family"]].policy,
            kind=TINY_VLA,
            name=f"{record['family']}-{record['arm']}-{record['seed']}",
            suite=protocol["suite"],
            task_ids=tuple(protocol["task_ids"]),
            max_steps=protocol["max_steps"],
            successes=tuple(round(rate * size) for rate in record["training_success"]),
            **_settings(config),
        )


def _of_folder(folder: Path) -> Iterator[MeasuredRun]:
    checkpoint = find_checkpoint(folder)
    config = saved_config(checkpoint)
    yield MeasuredRun(
        policy=config.policy.path or "new",
        kind=read_kind(checkpoint / "policy"),
        name=f"{folder.resolve().parent.name}-{folder.name}",
        suite=config.env.suite,
        task_ids=config.env.task_ids,
        max_steps=config.env.max_steps or get_suite(config.env.suite).horizon,
        successes=tuple(sum(record["rollout/success"]) for record in read_records(folder, METRICS_FILE)),
        **_settings(config),
    )


def _settings(config: TrainConfig) -> dict[str, Any]:
    if config.rollout.redraw or config.rollout.states != "in_turn":
        raise SystemExit(f"{config.output_dir}: of chosen or redrawn states, success is not that of a sample")
    return {
        "advantage": config.ppo.advantage,
        "learning_rate": config.ppo.learning_rate,
        "epochs": config.ppo.epochs,
        "rollout_episodes": config.env.num_groups * config.env.n_samples,
    }


if __name__ == "__main__":
    main()
