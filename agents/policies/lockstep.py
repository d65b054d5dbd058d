"""One policy that several processes compute with at the same time, each on rows of its own.

The weights of a sharded policy are put together by all processes at once
(:mod:`ttrl_env.agents.policies.sharding`), so every process has to make equally many passes, whether it has
rows for them or not. :class:`Lockstep` sees to that: whoever uses it says what there is to compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttrl_env.agents.distributed.processes import ALONE, World
from ttrl_env.agents.policies.protocol import PolicyInputs, TokenPolicy
from ttrl_env.kernels import SampledTokens

Rows: TypeAlias = "list[int] | NDArray[np.int64]"
"""Numbers of an environment's rows."""


class Lockstep:
    """A policy and the processes that compute with it; alone, it adds nothing.

    All processes call the same methods in the same order. A process with less to compute than another
    makes the passes it lacks on a spare row, which is the first one that was sampled. Nothing comes of
    them. ::

        shared = Lockstep(policy, world)  # after share_policy
        rollout = collect_rollout(env, shared, seed=0)
        evaluate(env, shared, task_ids=[0])
    """

    def __init__(self, policy: TokenPolicy, world: World = ALONE) -> None:
        """For several processes :func:`~ttrl_env.agents.policies.sharding.share_policy` comes first."""
        self.policy = policy
        self.world = world
        self._spare_inputs: PolicyInputs | None = None

    @classmethod
    def of(cls, policy: TokenPolicy | Lockstep) -> Lockstep:
        """``policy`` itself if it is in lockstep already, else alone with it."""
        return policy if isinstance(policy, Lockstep) else cls(policy)

    def passes(self, rows: Rows, rows_at_once: int = 0) -> list[Rows | None]:
        """``rows`` in passes of ``rows_at_once`` (0: all), and ``None`` for each that only others need.

        Empty once no process has any rows.
        """
        size = rows_at_once or max(len(rows), 1)
        return self.world.in_step([rows[first : first + size] for first in range(0, len(rows), size)])

    def prepare(
        self, observations: dict[str, NDArray], instructions: Sequence[str], rows: Rows
    ) -> PolicyInputs:
        """The policy's inputs of ``rows``, which the other arguments hold among others."""
        return self.policy.prepare(
            {key: array[rows] for key, array in observations.items()}, [instructions[row] for row in rows]
        )

    def sample(
        self,
        observations: dict[str, NDArray],
        instructions: Sequence[str],
        passes: Sequence[Rows | None],
        temperatures: Tensor,
        seeds: Tensor,
        step: int = 0,
    ) -> list[tuple[PolicyInputs, SampledTokens]]:
        """Sample a chunk for the rows of ``passes``.

        Args:
            observations: of all rows of an environment; not read where no pass has rows.
            instructions: one a row.
            passes: from :meth:`passes`.
            temperatures: ``[num_envs]`` float32.
            seeds: ``[num_envs, K]`` int64.
            step: where in the rows' streams of random numbers the chunk is drawn.

        Returns:
            For each pass that has rows the policy's inputs and what was sampled.
        """
        self._agree_on_spare_rows(observations, instructions, passes[0])
        sampled = []
        for rows in passes:
            if rows is None:
                self._sample_spare_row(seeds.shape[1])
                continue
            inputs = self.prepare(observations, instructions, rows)
            sampled.append((inputs, self.policy.sample(inputs, temperatures[rows], seeds[rows], step=step)))
        return sampled

    def _agree_on_spare_rows(
        self, observations: dict[str, NDArray], instructions: Sequence[str], rows: Rows | None
    ) -> None:
        """Keep the first row that is sampled; a process that has none takes another's."""
        if self.world.alone or self._spare_inputs is not None:
            return
        own = None if rows is None else self.prepare(observations, instructions, rows[:1])
        candidates = [own, *self.world.gather(own)]
        self._spare_inputs = next(inputs for inputs in candidates if inputs is not None)

    def _sample_spare_row(self, num_tokens: int) -> None:
        assert self._spare_inputs is not None
        seeds = torch.zeros(1, num_tokens, dtype=torch.int64)
        self.policy.sample(self._spare_inputs, torch.ones(1), seeds, step=0)
