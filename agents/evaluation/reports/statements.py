"""The statements of a report: sentences that claim only what its numbers support."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ttrl_env.agents.evaluation.evaluate import Evaluation
from ttrl_env.agents.evaluation.reports.comparison import Comparison

if TYPE_CHECKING:
    from ttrl_env.agents.evaluation.reports.evaluated_policy import EvaluatedPolicy
    from ttrl_env.agents.policies.provenance import Cloning, Provenance


def statements(subjects: Sequence[EvaluatedPolicy], comparisons: Sequence[Comparison]) -> list[str]:
    """Sentences about the results, about the initial states played, and about how to read the intervals."""
    found = [_rate(subject, each) for subject in subjects for each in subject.evaluations]
    found += [_difference(each) for each in comparisons]
    found += [_states(subject, subject.evaluations[0]) for subject in subjects]
    evaluations = [each for subject in subjects for each in subject.evaluations]
    diverged = sum(episode.failure is not None for each in evaluations for episode in each.episodes)
    if diverged:
        found.append(f"{diverged} episodes ended because their simulation diverged; they count as failures.")
    if any(episode.repeat for each in evaluations for episode in each.episodes):
        found.append(
            "Sampled episodes repeat their initial states. Those from one state count as dependent, so the "
            "intervals cover the choice of states as well as the sampling of actions."
        )
    if any(each.init_states == "all" for each in evaluations):
        found.append(
            "Every initial state of each task was played, as in the published 50-state protocol. Here "
            "training draws from the first 40 of 50; only the last 10 measure states kept back from it."
        )
    return found


def percent(rate: float) -> str:
    """A rate formatted as a percentage."""
    return f"{100 * rate:.0f} %"


def points(difference: float) -> str:
    """A difference of rates formatted in percentage points, with its sign."""
    rounded = round(100 * difference)
    return f"{rounded:+d}" if rounded else "0"


def mode(temperature: float) -> str:
    """A phrase for how actions were chosen: greedily, or sampled at a temperature."""
    return f"sampled at T = {temperature:g}" if temperature > 0 else "greedy"


def _rate(subject: EvaluatedPolicy, result: Evaluation) -> str:
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


def _states(subject: EvaluatedPolicy, result: Evaluation) -> str:
    """A sentence on which of the played states were trained on, as far as known."""
    name, known, cloned = subject.name.capitalize(), subject.provenance, subject.cloning
    if known is None:
        if cloned is not None:
            return f"{name}: {_demonstrated(cloned, result)}"
        return (
            f"{name}: the folder does not say what the policy was trained on, so none of the states can be "
            f"called unseen."
        )
    if cloned is not None:
        return f"{name}: {_reinforced(known, result)} Before that it was {_demonstrated(cloned, result)}"
    if known.started_from:
        return (
            f"{name}: {_reinforced(known, result)} Of what trained {known.started_from}, which it started "
            f"from, nothing is known here."
        )
    return f"{name}: {_reinforced(known, result)}"


def _reinforced(known: Provenance, result: Evaluation) -> str:
    if known.iteration == 0:
        return "no update has been made yet."
    if not known.knows(result.suite):
        return f"trained on {known.suite}, evaluated on {result.suite}. {_SHARED}"
    return _overlap("its training draws from", known, result)


def _demonstrated(cloned: Cloning, result: Evaluation) -> str:
    told = f"cloned from {cloned.num_episodes} demonstrations"
    if not cloned.is_complete:
        return f"{told}, some with unknown initial states, so none of the states can be called unseen."
    if not cloned.knows(result.suite):
        return f"{told} of {', '.join(cloned.suites)}, evaluated on {result.suite}. {_SHARED}"
    return _overlap(f"{told}, which start from", cloned, result)


_SHARED = "Suites of LIBERO-PRO may share initial states with the suite they vary, so none is called unseen."


def _overlap(beginning: str, known: Provenance | Cloning, result: Evaluation) -> str:
    """A sentence on how many of the played initial states were trained on."""
    states = {(episode.task_id, episode.init_state_id) for episode in result.episodes}
    shared = sum(known.drew_from(result.suite, *state) for state in states)
    if not shared:
        return f"{beginning} none of the {len(states)} initial states played."
    return (
        f"{beginning} {shared} of the {len(states)} initial states played; success on these is not success "
        f"on unseen states."
    )
