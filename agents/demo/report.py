"""The results of the demo: the content of ``report.json`` and the table on the terminal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rich.table import Table

from ttrl_env.agents.evaluation.evaluate import recorded_interval
from ttrl_env.agents.training.metrics import EVALUATIONS_FILE, METRICS_FILE, read_records
from ttrl_env.libero_tasks import LiberoTask
from ttrl_env.libero_version import stamp


def summarise(output: Path, record: dict[str, Any], greedy_after: dict[str, Any]) -> dict[str, Any]:
    """The results of the run in ``output``, as a dictionary for JSON.

    Args:
        output: the run's folder.
        record: what was chosen and measured before training, with the totals of the ``greedy`` policy.
        greedy_after: the same totals after training.
    """
    records, evaluations = read_records(output, METRICS_FILE), read_records(output, EVALUATIONS_FILE)
    sampled = [
        {key: each[key] for key in greedy_after} | {"success_rate_interval_95": list(recorded_interval(each))}
        for each in evaluations
    ]
    third = max(len(records) // 3, 1)
    spreads = [each["rollout/reward_spread"] for each in records]
    return {
        "world": stamp(),
        **{key: value for key, value in record.items() if key != "greedy"},
        "before": {"sampled": sampled[0], "greedy": record["greedy"]},
        "after": {"sampled": sampled[-1], "greedy": greedy_after},
        "evaluation_temperature": evaluations[0]["temperature"],
        "temperatures": records[0]["rollout/temperatures"],
        "reward_spread": {
            "first_third": sum(spreads[:third]) / third,
            "last_third": sum(spreads[-third:]) / third,
        },
        "training_episodes": sum(len(each["rollout/rewards"]) for each in records),
        "memory_gigabytes": max(each["memory_gigabytes"] for each in records),
    }


def make_table(report: dict[str, Any]) -> Table:
    """A table of the results before and after training, with intervals."""
    table = Table("held-out initial states", "before", "after", title=f"with {report['changes']}")
    for mode, name in (("sampled", f"T = {report['evaluation_temperature']:g}"), ("greedy", "greedy")):
        columns = [report["before"][mode], report["after"][mode]]
        intervals = [each["success_rate_interval_95"] for each in columns]
        steps = [each["steps_to_success"] for each in columns]
        table.add_row(
            f"success, {columns[0]['num_episodes']} episodes, {name}",
            *(f"{each['success_rate']:.0%}" for each in columns),
        )
        table.add_row("  95 % interval", *(f"{low:.0%} - {high:.0%}" for low, high in intervals))
        table.add_row("  steps to success", *("-" if each is None else f"{each:.0f}" for each in steps))
    spread = report["reward_spread"]
    table.add_row(
        "reward spread in a group, first and last third",
        f"{spread['first_third']:.3f}",
        f"{spread['last_third']:.3f}",
    )
    table.add_section()
    table.add_row("temperatures", f"{report['temperatures'][0]:.2f}", f"to {report['temperatures'][-1]:.2f}")
    table.add_row("training episodes", str(report["training_episodes"]), "")
    table.add_row("memory, peak", f"{report['memory_gigabytes']:.1f} GB", "")
    table.add_row("time", f"{report['seconds'] / 60:.1f} min", "")
    return table


def describe_changes(base: LiberoTask, changed: LiberoTask) -> str:
    """A phrase for LIBERO-PRO's changes to a task: which objects it replaced, or that it moved them."""
    names = [re.findall(r" - (\w+)", _objects(task)) for task in (base, changed)]
    replaced = [f"{new} for {old}" for old, new in zip(*names, strict=True) if old != new]
    return " and ".join(replaced).replace("_", " ") if replaced else "its objects in other places"


def _objects(task: LiberoTask) -> str:
    """The declarations ``name - category`` of a task's movable objects."""
    return task.bddl_file.read_text(encoding="utf-8").partition("(:objects")[2].partition(")")[0]
