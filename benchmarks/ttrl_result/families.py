"""The tasks of the experiment."""

from __future__ import annotations

from dataclasses import dataclass

POLICY = "tiny-vla-libero-object"
"""The policy every run starts from: the one that is shipped, cloned on ``libero_object``."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """Tasks that are adapted to together."""

    name: str
    title: str
    suite: str
    task_ids: tuple[int, ...]
    iterations: int
    repeats: int
    """Sampled episodes from each held-out state."""
    max_steps: int = 112
    """Horizon in policy steps, fourteen chunks of eight; the demonstrations take 60 to 80."""
    training: tuple[str, ...] = (
        "env.num_groups=4",
        "env.n_samples=8",
        "ppo.epochs=4",
        "ppo.learning_rate=1e-4",
    )
    """Training overrides that all arms share."""


FAMILIES = {
    family.name: family
    for family in (
        Family(
            name="replaced",
            title="LIBERO-PRO: other objects in the place of known ones (libero_object_object 1, 2, 3)",
            suite="libero_object_object",
            task_ids=(1, 2, 3),
            iterations=24,
            repeats=2,
        ),
    )
}
"""Every family by name."""
