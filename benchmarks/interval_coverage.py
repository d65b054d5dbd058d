"""How often 95 % intervals hold the true success rate: ``python -m benchmarks.interval_coverage``.

Experiments are drawn from populations in which initial states and training seeds differ, or do not. The
intervals that three methods make of the episodes are compared with the population's success rate.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from ttrl_env.agents.evaluation.intervals import success_interval

Interval = Callable[[NDArray[np.bool_]], tuple[float, float]]
"""Makes an interval of ``[seeds, states, repeats]`` episodes."""


@dataclass(frozen=True, kw_only=True)
class Population:
    """Success is likely by the logistic function of a level, plus normal effects of state and seed."""

    rate: float
    """Success rate over all states and seeds."""
    state_spread: float = 0.0
    """Standard deviation of the effects of initial states."""
    seed_spread: float = 0.0
    """Standard deviation of the effects of training seeds."""

    def experiments(
        self, count: int, seeds: int, states: int, repeats: int, rng: np.random.Generator
    ) -> NDArray[np.bool_]:
        """Episodes ``[count, seeds, states, repeats]``; all seeds of an experiment play the same states."""
        effects = rng.normal(0, self.state_spread, (count, 1, states, 1))
        effects = effects + rng.normal(0, self.seed_spread, (count, seeds, 1, 1))
        return rng.random((count, seeds, states, repeats)) < expit(self._level() + effects)

    def _level(self) -> float:
        points, weights = hermegauss(60)
        spread = np.hypot(self.state_spread, self.seed_spread)

        def excess(level: float) -> float:
            return float(expit(level + spread * points) @ weights / weights.sum() - self.rate)

        return float(brentq(excess, -30, 30))


def pooled(episodes: NDArray[np.bool_]) -> tuple[float, float]:
    """Wilson's interval, as if all episodes were independent."""
    return success_interval(episodes.ravel().tolist())


def clustered(episodes: NDArray[np.bool_]) -> tuple[float, float]:
    """The interval of ttrl-env's reports and tables."""
    seeds, states, _ = np.indices(episodes.shape)
    return success_interval(episodes.ravel().tolist(), states.ravel().tolist(), seeds.ravel().tolist())


def bootstrapped(episodes: NDArray[np.bool_], resamples: int = 500) -> tuple[float, float]:
    """Percentiles of the pigeonhole bootstrap, which draws seeds and states with replacement."""
    rng = np.random.default_rng(0)
    rates = episodes.mean(axis=2)
    seeds, states = (rng.multinomial(size, np.full(size, 1 / size), resamples) / size for size in rates.shape)
    low, high = np.percentile(((seeds @ rates) * states).sum(axis=1), [2.5, 97.5])
    return float(low), float(high)


METHODS: dict[str, Interval] = {"pooled": pooled, "bootstrap": bootstrapped, "clustered": clustered}

DESIGNS = ((1, 10, 3), (1, 10, 5), (3, 10, 4), (5, 10, 4))
"""Seeds, initial states, and episodes from each of them."""

STATE_SPREADS, SEED_SPREAD = (0.0, 1.5), 0.7
"""About as measured (docs/findings/intervals-of-clustered-episodes.md)."""


def coverage(interval: Interval, population: Population, experiments: NDArray[np.bool_]) -> float:
    """Share of the experiments whose interval holds the population's success rate."""
    limits = [interval(each) for each in experiments]
    return float(np.mean([low <= population.rate <= high for low, high in limits]))


def table(count: int) -> str:
    """Coverage by design and population, as Markdown."""
    rng = np.random.default_rng(0)
    header = ("seeds x states x repeats", "states and seeds", "rate", *METHODS)
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for seeds, states, repeats in DESIGNS:
        for spread in STATE_SPREADS:
            for rate in (0.5, 0.75, 0.9):
                population = Population(
                    rate=rate,
                    state_spread=spread,
                    seed_spread=SEED_SPREAD if seeds > 1 and spread else 0.0,
                )
                episodes = population.experiments(count, seeds, states, repeats, rng)
                found = [coverage(method, population, episodes) for method in METHODS.values()]
                cells = " | ".join(f"{100 * each:.0f} %" for each in found)
                differ = "differ" if spread else "alike"
                lines.append(f"| {seeds} x {states} x {repeats} | {differ} | {rate:.0%} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interval_coverage", description=__doc__)
    parser.add_argument(
        "--experiments", type=int, default=1000, help="of each population; default %(default)s"
    )
    print(table(parser.parse_args().experiments))
