"""The report as a dictionary, the content of ``report.json`` (``docs/guide.md`` explains every key)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ttrl_env.agents.common.versions import installed_versions
from ttrl_env.agents.evaluation.evaluate import Evaluation
from ttrl_env.agents.evaluation.reports.comparison import Comparison, compare
from ttrl_env.agents.evaluation.reports.evaluated_policy import EvaluatedPolicy
from ttrl_env.agents.evaluation.reports.statements import statements
from ttrl_env.agents.evaluation.reports.world import describe, stamp
from ttrl_env.agents.policies.provenance import Demonstrated
from ttrl_env.tasks import get_task

SCHEMA = "ttrl-env/evaluation/2"
"""Version of the format; it changes when a key changes its meaning.

2: intervals take episodes from one initial state for dependent, which 1 did not.
"""


def summarise(
    subjects: Sequence[EvaluatedPolicy],
    protocol: dict[str, Any],
    videos: Sequence[dict[str, Any]] = (),
    versions: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The report of one checkpoint, or of a baseline and a checkpoint (in this order).

    ``versions`` are those of a simulator in another interpreter.
    """
    comparisons = paired(subjects)
    return {
        "schema": SCHEMA,
        "versions": installed_versions(),
        "world": stamp(protocol, versions),
        "protocol": protocol,
        "checkpoints": {subject.name: _checkpoint(subject) for subject in subjects},
        "evaluations": [_evaluation(subject, each) for subject in subjects for each in subject.evaluations],
        "comparisons": [_comparison(each, subjects[0].evaluations[0].suite) for each in comparisons],
        "statements": [f"World: {describe(protocol, versions)}.", *statements(subjects, comparisons)],
        "videos": list(videos),
    }


def paired(subjects: Sequence[EvaluatedPolicy]) -> list[Comparison]:
    """A comparison of baseline and checkpoint for each temperature; empty for one subject."""
    if len(subjects) < 2:
        return []
    before, after = subjects
    return [compare(*pair) for pair in zip(before.evaluations, after.evaluations, strict=True)]


def _checkpoint(subject: EvaluatedPolicy) -> dict[str, Any]:
    known = subject.provenance
    trained_on = None if known is None else {**asdict(known), "task_ids": list(known.task_ids)}
    cloned = subject.cloning
    cloned_from = None if cloned is None else [_demonstrated(each) for each in cloned.tasks]
    return {"policy": subject.policy, "trained_on": trained_on, "cloned_from": cloned_from}


def _demonstrated(task: Demonstrated) -> dict[str, Any]:
    states = task.init_state_ids
    return {**asdict(task), "init_state_ids": None if states is None else list(states)}


def _evaluation(subject: EvaluatedPolicy, result: Evaluation) -> dict[str, Any]:
    trainings = (subject.provenance, subject.cloning)
    known = [each for each in trainings if each is not None and each.knows(result.suite)]
    trained_on = {
        episode.start
        for episode in result.episodes
        if any(each.drew_from(result.suite, episode.task_id, episode.init_state_id) for each in known)
    }
    parts = {
        "on_training_states": result.restricted(lambda episode: episode.start in trained_on),
        "on_other_states": result.restricted(lambda episode: episode.start not in trained_on),
    }
    return {
        "checkpoint": subject.name,
        "temperature": result.temperature,
        **result.totals(),
        "num_diverged": sum(episode.failure is not None for episode in result.episodes),
        **{name: part.totals() if known and part.episodes else None for name, part in parts.items()},
        "tasks": [
            {
                "task_id": task_id,
                "instruction": get_task(result.suite, task_id).instruction,
                **result.of_task(task_id).totals(),
            }
            for task_id in result.task_ids
        ],
        "episodes": [asdict(episode) for episode in result.episodes],
    }


def _comparison(comparison: Comparison, suite: str) -> dict[str, Any]:
    task_ids = sorted({before.task_id for before, _ in comparison.pairs})
    return {
        "temperature": comparison.temperature,
        **comparison.totals(),
        "tasks": [
            {
                "task_id": task_id,
                "instruction": get_task(suite, task_id).instruction,
                **comparison.of_task(task_id).totals(),
            }
            for task_id in task_ids
        ],
    }
