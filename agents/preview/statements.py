"""The sentences of a preview: what its numbers say, what the run will need, and what to try."""

from __future__ import annotations

from typing import Any

from ttrl_env.agents.common.minute_lines import clock_time
from ttrl_env.agents.evaluation.reports.statements import percent
from ttrl_env.tasks import get_suite


def statements(summary: dict[str, Any]) -> list[str]:
    """Sentences about success, states, temperatures, the episodes a run will need, and its time."""
    found = [_success(summary), _states(summary["teaching"])]
    if summary["num_successes"] == 0:
        found.append(_nothing_to_learn(summary))
        return [*found, *_diverged(summary)]
    if summary["num_successes"] == summary["num_episodes"]:
        found.append(_only_steps(summary))
    found.append(_learnt_from(summary["teaching"]))
    found += _temperatures(summary["temperatures"])
    found += _episodes(summary)
    found += _time(summary["run"])
    return [*found, *_diverged(summary)]


def advice(summary: dict[str, Any]) -> list[str]:
    """What to try with a policy that never succeeds; empty for others."""
    if summary["num_successes"]:
        return []
    settings, temperatures = summary["settings"], summary["temperatures"]
    coolest, hottest = (temperatures[end]["temperature"] for end in (0, -1))
    rungs = ", ".join(
        f"{percent(each['success_rate'])} at T = {each['temperature']:.2g}" for each in temperatures
    )
    horizon, usual = settings["max_steps"], get_suite(settings["suite"]).horizon
    longer = f"the suite's own is {usual}" if horizon < usual else "a slow policy may need more"
    return [
        f"A higher temperature. Measured: {rungs}. Preview it first: base_temperature={hottest:.2g} "
        f"temperature_range=0.6.",
        f"A lower one, if `ttrl eval` shows that the policy succeeds greedily. "
        f"base_temperature={coolest / 2:.2g} is half of the present one.",
        f"A longer horizon. Episodes end after env.max_steps={horizon}; {longer}.",
        "More demonstrations of these tasks (docs/demonstrations.md), or a published checkpoint "
        "(docs/openvla.md).",
        "docs/guide.md, 'When it does not learn', has further causes.",
    ]


def _success(summary: dict[str, Any]) -> str:
    low, high = summary["success_rate_interval_95"]
    steps = summary["steps_to_success"]
    return (
        f"Before training, {percent(summary['success_rate'])} of {summary['num_episodes']} episodes succeed "
        f"(95 % interval {percent(low)} to {percent(high)})"
        + ("." if steps is None else f", in {steps:.0f} steps on average.")
    )


def _states(teaching: dict[str, Any]) -> str:
    return (
        f"Of {_count(teaching['num_groups'], 'initial state')}, {teaching['mixed']} can teach (mixed "
        f"outcomes), {teaching['always_fail']} always fail, {teaching['always_succeed']} always succeed."
    )


def _nothing_to_learn(summary: dict[str, Any]) -> str:
    _, high = summary["success_rate_interval_95"]
    return (
        f"Nothing can be learnt from such episodes: all rewards are 0, so no update has a direction. The "
        f"true rate may be up to {percent(high)}."
    )


def _only_steps(summary: dict[str, Any]) -> str:
    steps = [step for group in summary["groups"] for step in group["steps"]]
    reward = summary["teaching"]["reward"]
    so = (
        "The efficiency reward is what makes an update prefer shorter ones."
        if reward == "efficiency"
        else "Binary rewards do not see steps: set test_time_rl=true and test_time_rl_reward=efficiency."
    )
    return f"There is nothing to gain but steps: successes take {min(steps)} to {max(steps)}. {so}"


def _learnt_from(teaching: dict[str, Any]) -> str:
    spread, groups = teaching["with_spread"], teaching["num_groups"]
    told = (
        f"Rewards differ within {spread['efficiency']} of {_count(groups, 'group')} with the efficiency "
        f"reward, within {spread['env_sparse']} with the binary one."
    )
    if not teaching["compares_group"]:
        return f"{told} ppo.advantage={teaching['advantage']} learns from the others too."
    return (
        f"{told} This run uses {teaching['reward']}: of {_count(teaching['groups_per_update'], 'group')} an "
        f"update plays, it would learn from about {teaching['groups_learnt_from_per_update']:.2g}."
    )


def _temperatures(rungs: list[dict[str, Any]]) -> list[str]:
    if len(rungs) < 2:
        return []
    half = len(rungs) // 2
    cool, hot = (_rate(part) for part in (rungs[:half], rungs[-half:]))
    return [
        f"The cooler half of the ladder (to T = {rungs[half - 1]['temperature']:.2g}) succeeds in "
        f"{percent(cool)}, the hotter half (from T = {rungs[-half]['temperature']:.2g}) in {percent(hot)}."
    ]


def _rate(rungs: list[dict[str, Any]]) -> float:
    return sum(each["num_successes"] for each in rungs) / sum(each["num_episodes"] for each in rungs)


def _episodes(summary: dict[str, Any]) -> list[str]:
    forecast, run = summary["forecast"], summary["run"]
    target = percent(forecast["target"])
    reason = forecast["outside_what_was_measured"]
    if reason is not None:
        return [f"Episodes until {target} success: outside what was measured, as {reason}."]
    episodes = forecast["episodes"]
    if episodes is None:
        return [f"Success is about {target} or more already; no episodes are needed to get there."]
    check, size = forecast["check"], run["episodes_per_update"]
    found = [
        f"Episodes until {target} success in training: {_about(episodes, 'middle')} "
        f"(in four of five runs alike between {_about(episodes, 'low')} and {_about(episodes, 'high')}). "
        f"This run plays {run['iterations'] * size} ({run['iterations']} iterations of {size}).",
        f"That is an estimate from {check['runs']} runs of our own on {check['tasks']} sets of LIBERO's "
        f"tasks. Forecast from the other sets, {check['in_range']} runs ended within their range. In the "
        f"{check['reached']} that reached {target}, the middle was off by a factor of {check['factor']:.1f} "
        f"(median).",
    ]
    if forecast["differences"]:
        found.append(
            f"No run like this one was measured: {'; '.join(forecast['differences'])}. The estimate is for "
            f"settings as measured."
        )
    return found


def _about(episodes: dict[str, float], name: str) -> str:
    """A number of episodes to two digits, or that it lies beyond the longest run."""
    value, longest = episodes[name], episodes["longest"]
    return f"more than {longest:.0f}, the longest measured" if value > longest else f"{_two_digits(value)}"


def _two_digits(value: float) -> int:
    return int(float(f"{value:.2g}"))


def _time(run: dict[str, Any]) -> list[str]:
    seconds = run["seconds_per_episode"]
    if seconds is None:
        return []
    episodes = run["iterations"] * run["episodes_per_update"]
    return [
        f"An episode took {seconds:.2g} seconds here, so this run's {episodes} take about "
        f"{clock_time(seconds * episodes)} (h:mm:ss); updates and evaluations come on top."
    ]


def _diverged(summary: dict[str, Any]) -> list[str]:
    number = summary["num_diverged"]
    if not number:
        return []
    return [f"{_count(number, 'episode')} ended because the simulation diverged, and count as failures."]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
