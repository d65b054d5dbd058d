"""The tasks of the experiment."""

from __future__ import annotations

from dataclasses import dataclass


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
    max_steps: int = 112
    """Horizon in policy steps: fourteen chunks of eight. Demonstrations take 60 to 80 steps."""
    training: tuple[str, ...] = (
        "env.num_groups=4",
        "env.n_samples=8",
        "ppo.epochs=4",
        "ppo.learning_rate=2e-4",
    )
    """Training overrides that all arms share."""


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
    )
}
"""All families by name."""
