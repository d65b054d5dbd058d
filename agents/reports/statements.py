"""The sentences of a report: no more than its numbers carry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ttrl_env.agents.evaluation import Evaluation
from ttrl_env.agents.reports.comparison import Comparison

if TYPE_CHECKING:
    from ttrl_env.agents.reports.summary import Subject


def statements(subjects: Sequence[Subject], comparisons: Sequence[Comparison]) -> list[str]:
    """What was measured, on which states, and what the intervals mean."""
    found = [_rate(subject, each) for subject in subjects for each in subject.evaluations]
    found += [_difference(each) for each in comparisons]
    found += [_states(subject, subject.evaluations[0]) for subject in subjects]
    evaluations = [each for subject in subjects for each in subject.evaluations]
    diverged = sum(episode.failure is not None for each in evaluations for episode in each.episodes)
    if diverged:
        found.append(f"{diverged} episodes ended because their simulation diverged; they count as failures.")
    if any(episode.repeat for each in evaluations for episode in each.episodes):
        found.append(
            "Sampled episodes repeat their initial states: their intervals cover the sampling of actions on "
            "these states, not the choice of states."
        )
    if any(each.init_states == "all" for each in evaluations):
        found.append(
            "Every initial state of each task was played, as in the published 50-state protocol. Here "
            "training draws from the first 40 of 50; only the last 10 measure states kept back from it."
        )
    return found


def percent(rate: float) -> str:
    """A rate as a percentage."""
    return f"{100 * rate:.0f} %"


def points(difference: float) -> str:
    """A difference of rates in percentage points, with its sign."""
    rounded = round(100 * difference)
    return f"{rounded:+d}" if rounded else "0"


def mode(temperature: float) -> str:
    """How actions were chosen."""
    return f"sampled at T = {temperature:g}" if temperature > 0 else "greedy"


def _rate(subject: Subject, result: Evaluation) -> str:
    low, high = result.interval
    steps = result.steps_to_success
    return (
        f"{subject.name.capitalize()}, {mode(result.temperature)}: {percent(result.success_rate)} success "
        f"(95 % interval {percent(low)} to {percent(high)}) in {len(result.episodes)} episodes"
        + (f", {steps:.0f} steps to success on average." if steps is not None else ".")
    )


def _difference(comparison: Comparison) -> str:
    low, high = comparison.interval
    meaning = {
        "higher": "the checkpoint succeeds more often than the baseline on these episodes",
        "lower": "the checkpoint succeeds less often than the baseline on these episodes",
        "no difference shown": "the interval includes 0, so these episodes show no difference",
    }[comparison.verdict]
    return (
        f"Checkpoint less baseline, {mode(comparison.temperature)}: {points(comparison.difference)} points "
        f"(95 % interval {points(low)} to {points(high)}, {len(comparison.pairs)} pairs of episodes): "
        f"{meaning}."
    )


def _states(subject: Subject, result: Evaluation) -> str:
    name, known = subject.name.capitalize(), subject.provenance
    if known is None:
        return (
            f"{name}: the folder does not say what the policy was trained on, so none of the states can be "
            f"called unseen."
        )
    earlier = f" Of what trained {known.started_from}, which it started from, nothing is known here."
    earlier = earlier if known.started_from else ""
    if known.iteration == 0:
        return f"{name}: no update has been made yet.{earlier}"
    if known.suite != result.suite:
        return (
            f"{name}: trained on {known.suite}, evaluated on {result.suite}. Suites of LIBERO-PRO may share "
            f"initial states with the suite they vary, so none is called unseen.{earlier}"
        )
    states = sorted({(episode.task_id, episode.init_state_id) for episode in result.episodes})
    drawn = [state for state in states if known.drew_from(result.suite, *state)]
    if not drawn:
        return f"{name}: its training draws from none of the {len(states)} initial states played.{earlier}"
    return (
        f"{name}: its training draws from {len(drawn)} of the {len(states)} initial states played; "
        f"success on these is not success on unseen states.{earlier}"
    )
