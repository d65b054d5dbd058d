"""The tasks of the experiment."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.ttrl_result.arms import MAIN_ARMS
from ttrl_env.temperatures import BASE_TEMPERATURE


@dataclass(frozen=True, kw_only=True)
class Family:
    """Tasks to which a policy is adapted together."""

    name: str
    title: str
    policy: str
    """The policy from which every run starts; it ships with the package."""
    suite: str
    task_ids: tuple[int, ...]
    iterations: int
    repeats: int
    """Number of sampled episodes from each held-out state."""
    temperature: float = BASE_TEMPERATURE
    """Of the coolest rung, unless the arm has another, and of the sampled evaluations."""
    max_steps: int = 112
    """Horizon in policy steps: fourteen chunks of eight. Demonstrations take 60 to 80 steps."""
    rows_per_update: int = 32
    """Episodes of an update, the same for all arms; groups are as large as the arm says."""
    training: tuple[str, ...] = ("ppo.epochs=4", "ppo.learning_rate=2e-4")
    """Training overrides that all arms share."""
    evaluate_every: int = 0
    """Updates between evaluations on the held-out states, one sampled episode from each; 0: none."""
    arms: tuple[str, ...] = tuple(MAIN_ARMS)
    """The arms that run unless others are asked for."""


FAMILIES = {
    family.name: family
    for family in (
        Family(
            name="replaced",
            title="another bbq sauce, another basket (LIBERO-PRO's libero_object_object, task 3)",
            policy="tiny-vla-libero-object-four",
            suite="libero_object_object",
            task_ids=(3,),
            iterations=30,
            repeats=4,
        ),
        Family(
            name="known",
            title="the salad dressing (LIBERO's libero_object, task 2)",
            policy="tiny-vla-libero-object-four",
            suite="libero_object",
            task_ids=(2,),
            iterations=20,
            repeats=4,
        ),
        Family(
            name="object",
            title="all ten tasks of LIBERO's libero_object, one policy",
            policy="tiny-vla-libero-object",
            suite="libero_object",
            task_ids=tuple(range(10)),
            iterations=75,
            repeats=1,
            rows_per_update=80,
            temperature=0.4,  # at 0.6 to 0.9 the policy solves 11 % while it plays, at 0.4 to 0.6 27 %
            training=("ppo.epochs=4", "ppo.learning_rate=3e-4", "temperature_range=0.2"),
            evaluate_every=15,
            arms=("ttrl", "critic"),
        ),
    )
}
"""All families by name."""
