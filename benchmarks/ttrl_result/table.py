"""The table of the experiment's results: all seeds of an arm together, and each seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from benchmarks.ttrl_result.arms import ARMS
from benchmarks.ttrl_result.curve import episodes_to
from benchmarks.ttrl_result.families import FAMILIES
from benchmarks.ttrl_result.rates import difference, rate

CAPTION = (
    "Brackets hold 95 % intervals, with initial states and training seeds as clusters. `less the first arm` "
    "is in percentage points, from pairs of episodes with the same seed, state and random numbers. "
    "`until 90 %` has an entry a seed: the episodes after which a straight line between two evaluations on "
    "held-out states first crosses 90 %, or `-`."
)

LEVEL = 0.9
"""Success on held-out states whose number of episodes the table gives."""


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """One section a family: the policy before adaptation, then every arm with results, in ``ARMS``' order."""
    sections = [
        _section(family, [result for result in results if result["family"] == family])
        for family in FAMILIES
        if any(result["family"] == family for result in results)
    ]
    return "\n".join([*sections, CAPTION, ""])


def sampled(result: dict[str, Any], checkpoint: str) -> dict[str, Any]:
    """The sampled evaluation of ``"baseline"`` or ``"checkpoint"``."""
    found = [e for e in result["evaluations"] if e["checkpoint"] == checkpoint and e["temperature"] > 0]
    return found[0]


def _section(family: str, results: Sequence[dict[str, Any]]) -> str:
    lines = [
        f"### {FAMILIES[family].title}",
        "",
        "| | success on held-out states | each seed | less the first arm | steps to success | each seed "
        "| where both succeed | episodes | until 90 % | training |",
        "|---|---|---|---|---|---|---|---|---|---|",
        # every arm and seed starts from the same policy and is compared on the same episodes
        _row("no adaptation", [sampled(results[0], "baseline")], "", "", "0", "", ""),
    ]
    first: list[dict[str, Any]] = []
    for name, arm in ARMS.items():
        runs = sorted((result for result in results if result["arm"] == name), key=lambda each: each["seed"])
        if runs:
            lines.append(
                _row(
                    arm.title,
                    [sampled(each, "checkpoint") for each in runs],
                    _points(first, runs) if first else "",
                    _steps_of_pairs(runs),
                    str(runs[0]["episodes"]),
                    _until(runs),
                    f"{fmean(each['training_seconds'] for each in runs) / 60:.0f} min",
                )
            )
            first = first or runs
    return "\n".join([*lines, ""])


def _points(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> str:
    """The difference of two arms in percentage points, with its interval."""
    found = difference(
        *({run["seed"]: sampled(run, "checkpoint") for run in runs} for runs in (before, after))
    )
    if found is None:
        return "-"
    points, low, high = (f"{round(100 * each):+d}" if round(100 * each) else "0" for each in found)
    return f"{points} [{low}, {high}]"


def _until(runs: Sequence[dict[str, Any]]) -> str:
    """Episodes of each seed until success on held-out states reaches :data:`LEVEL`."""
    curves = [run.get("held_out_curve", []) for run in runs]  # earlier results have none
    if not any(curves):
        return ""
    needed = [episodes_to(LEVEL, curve) for curve in curves]
    return ", ".join("-" if each is None else f"{each:.0f}" for each in needed)


def _steps_of_pairs(runs: Sequence[dict[str, Any]]) -> str:
    """Steps before and after, of episodes that succeed both times; means over seeds."""
    pairs = [
        comparison["steps_where_both_succeed"]
        for run in runs
        for comparison in run["comparisons"]
        if comparison["temperature"] > 0 and comparison["steps_where_both_succeed"]
    ]
    if not pairs:
        return "-"
    return " → ".join(_steps(fmean(pair[when] for pair in pairs)) for when in ("before", "after"))


def _row(title: str, evaluations: Sequence[dict[str, Any]], points: str, pairs: str, *costs: str) -> str:
    success, low, high = rate(evaluations)
    rates = ", ".join(f"{each['success_rate']:.0%}" for each in evaluations)
    steps = [each["steps_to_success"] for each in evaluations]
    known = [each for each in steps if each is not None]
    mean_steps = _steps(fmean(known) if known else None)
    each_steps = ", ".join(map(_steps, steps))
    cells = (title, f"{success:.0%} [{low:.0%}, {high:.0%}]", rates, points, mean_steps, each_steps, pairs)
    return f"| {' | '.join((*cells, *costs))} |"


def _steps(mean: float | None) -> str:
    """Format a mean number of steps; ``None`` stands for a seed without success."""
    return "-" if mean is None else f"{mean:.1f}"
