"""The entry points of ``gym.make_vec``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from ttrl_env.checks import check_positive_int
from ttrl_env.replica_env import ReplicaVectorEnv
from ttrl_env.robotwin.vector_env import RoboTwinVectorEnv, refuse_liberos_settings
from ttrl_env.vector_env import TTRLVectorEnv

_Envs = TypeVar("_Envs", bound=ReplicaVectorEnv)


def make_vec(num_envs: int = 1, *, suite: str, **kwargs: Any) -> TTRLVectorEnv:
    """Make an environment of LIBERO with ``num_envs`` rows in groups of ``n_samples``.

    Without ``n_samples`` each task is one group. ``task_id`` selects a single task; the ids of single tasks
    (``ttrl_env/LiberoSpatial-3-v0``) set it. ``max_episode_steps``, Gymnasium's horizon in calls of ``step``
    (-1: none but the suite's), sets ``max_steps``. Other keywords are those of :class:`TTRLVectorEnv`.
    """
    return _make(partial(TTRLVectorEnv, suite), num_envs, **kwargs)


def make_robotwin_vec(num_envs: int = 1, **kwargs: Any) -> RoboTwinVectorEnv:
    """Make an environment of RoboTwin, as :func:`make_vec` does; keywords are ``RoboTwinVectorEnv``'s."""
    refuse_liberos_settings(kwargs)
    return _make(RoboTwinVectorEnv, num_envs, **kwargs)


def _make(
    env_class: Callable[..., _Envs],
    num_envs: int,
    *,
    task_ids: Sequence[Any] | None = None,
    task_id: Any = None,
    n_samples: int | None = None,
    max_episode_steps: int | None = None,
    **kwargs: Any,
) -> _Envs:
    if max_episode_steps not in (None, -1):
        kwargs["max_steps"] = _max_steps(max_episode_steps, **kwargs)
    if task_ids is not None and task_id is not None:
        raise ValueError(
            f"task_ids, task_id: give one of them, got task_ids={task_ids!r} and task_id={task_id!r} "
            f"(ids of single tasks set task_id; use the suite's id for task_ids)"
        )
    if task_ids is None:
        task_ids = (0 if task_id is None else task_id,)
    check_positive_int("num_envs", num_envs)
    if n_samples is None:
        n_samples = max(num_envs // max(len(task_ids), 1), 1)
    check_positive_int("n_samples", n_samples)
    if num_envs % n_samples:
        raise ValueError(
            f"num_envs: expected a multiple of n_samples={n_samples} (groups are whole), got {num_envs}"
        )
    return env_class(task_ids, n_samples, num_groups=num_envs // n_samples, **kwargs)


def _max_steps(
    max_episode_steps: int, *, max_steps: int | None = None, chunk_steps: int = 1, **_: Any
) -> int:
    """The horizon in policy steps after which an episode has taken ``max_episode_steps`` chunks."""
    if max_steps is not None:
        raise ValueError(
            f"max_episode_steps, max_steps: give one of them, got {max_episode_steps} and {max_steps} "
            f"(max_episode_steps counts calls of step, max_steps the policy steps in them)"
        )
    return check_positive_int("max_episode_steps", max_episode_steps) * check_positive_int(
        "chunk_steps", chunk_steps
    )
