"""One policy that several processes compute with at the same time, each on rows of its own.

All processes gather the weights of a sharded policy at once (:mod:`ttrl_env.agents.policies.sharding`). So
every process has to make equally many passes, whether it has rows for them or not. :class:`Lockstep` makes
the passes that are missing; its callers only say what they have to compute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ttrl_env.agents.distributed.processes import ALONE, World
from ttrl_env.agents.policies.protocol import PlayedPolicy, PolicyInputs, TokenEvaluation, UpdatedPolicy
from ttrl_env.agents.policies.sharding import clip_gradients
from ttrl_env.kernels import SampledTokens

T = TypeVar("T")

PolicyT = TypeVar("PolicyT", bound=PlayedPolicy, covariant=True)

Rows: TypeAlias = "list[int] | NDArray[np.int64]"
"""Numbers of an environment's rows."""

Observations: TypeAlias = "dict[str, NDArray[Any]] | NDArray[Any]"
"""What an environment shows: arrays whose first axis is the row, by name, or a single one."""


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """``m`` chunks as a policy evaluates them: the arguments of ``UpdatedPolicy.evaluate``."""

    inputs: PolicyInputs
    """What the policy saw, first axis ``m``."""
    tokens: Tensor
    """``[m, K]`` int64, ``K = chunk_steps * action_dim``."""
    temperatures: Tensor
    """``[m]`` float32."""

    def select(self, which: Tensor | NDArray[np.int64] | slice) -> Chunks:
        """Some of them, copied if ``which`` is an array."""
        return Chunks(
            inputs={key: tensor[which] for key, tensor in self.inputs.items()},
            tokens=self.tokens[which],
            temperatures=self.temperatures[which],
        )


class Lockstep(Generic[PolicyT]):
    """A policy and the processes that compute with it; alone, it adds nothing.

    All processes call the same methods in the same order. A process with less to compute than another
    makes the passes it lacks on a spare row, which is the first one that was sampled. Nothing comes of
    them. ::

        shared = Lockstep(policy, world)  # after share_policy
        agent = PPOAgent(shared, config)
        agent.update(collect_rollout(env, shared, seed=0))
    """

    def __init__(self, policy: PolicyT, world: World = ALONE) -> None:
        """For several processes :func:`~ttrl_env.agents.policies.sharding.share_policy` comes first."""
        self.policy = policy
        self.world = world
        self._spare_inputs: PolicyInputs | None = None
        self._spare_tokens: Tensor | None = None

    @classmethod
    def of(cls, policy: PolicyT | Lockstep[PolicyT]) -> Lockstep[PolicyT]:
        """``policy`` itself if it is in lockstep already, else alone with it."""
        return policy if isinstance(policy, Lockstep) else cls(policy)

    def passes(self, rows: Rows, rows_at_once: int = 0) -> list[Rows | None]:
        """``rows`` in passes of ``rows_at_once`` (0: all), and ``None`` for each that only others need.

        Empty once no process has any rows.
        """
        size = rows_at_once or max(len(rows), 1)
        return self.world.in_step([rows[first : first + size] for first in range(0, len(rows), size)])

    def prepare(self, observations: Observations, instructions: Sequence[str], rows: Rows) -> PolicyInputs:
        """The policy's inputs of ``rows``, which the other arguments hold among others."""
        chosen = (
            {key: array[rows] for key, array in observations.items()}
            if isinstance(observations, dict)
            else observations[rows]
        )
        return self.policy.prepare(chosen, [instructions[row] for row in rows])

    def sample(
        self,
        observations: Observations,
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
            step: where in the rows' streams of random numbers the chunk is sampled.

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
            chunk = self.policy.sample(inputs, temperatures[rows], seeds[rows], step=step)
            if self._spare_tokens is None and not self.world.alone:
                self._spare_tokens = chunk.tokens[:1].cpu()
            sampled.append((inputs, chunk))
        return sampled

    @torch.no_grad()
    def evaluate(
        self: Lockstep[UpdatedPolicy], chunks: Chunks, rows_at_once: int
    ) -> list[tuple[Rows, TokenEvaluation]]:
        """Evaluate ``chunks``, ``rows_at_once`` of them in a pass; which ones, and what came of it."""
        evaluated = []
        for rows in self.passes(np.arange(len(chunks.tokens)), rows_at_once):
            part = self._spare_row() if rows is None else chunks.select(np.asarray(rows))
            evaluation = self.policy.evaluate(part.inputs, part.tokens, part.temperatures)
            if rows is not None:
                evaluated.append((rows, evaluation))
        return evaluated

    def padded(self, batches: Sequence[T], padding: Callable[[Chunks], T]) -> list[T]:
        """``batches``, then as many that ``padding`` makes of the spare row as another process has more."""
        return [
            padding(self._spare_row()) if batch is None else batch for batch in self.world.in_step(batches)
        ]

    def one_of(self, chunks: Chunks) -> Chunks:
        """The first of ``chunks``; of none, the spare row."""
        return chunks.select(slice(1)) if len(chunks.tokens) else self._spare_row()

    def backward(self, loss: Tensor) -> None:
        """Gradients of the sum of every process's ``loss``, complete after :meth:`clip_gradients`."""
        # gradients are averaged over processes, as fully_shard does
        (loss if self.world.alone else loss * self.world.size).backward()

    def clip_gradients(self, parameters: Iterable[nn.Parameter], max_norm: float) -> float:
        """The norm of the gradients over all processes, scaled down to ``max_norm`` where it is larger."""
        return clip_gradients(parameters, max_norm, self.world)

    def _agree_on_spare_rows(
        self, observations: Observations, instructions: Sequence[str], rows: Rows | None
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
        sampled = self.policy.sample(self._spare_inputs, torch.ones(1), seeds, step=0)
        if self._spare_tokens is None:
            self._spare_tokens = sampled.tokens.cpu()

    def _spare_row(self) -> Chunks:
        if self._spare_inputs is None or self._spare_tokens is None:
            raise RuntimeError(
                "this process has nothing to evaluate while others have, and no row to do it on: sample with "
                "the same Lockstep before (collect_rollout does)"
            )
        return Chunks(inputs=self._spare_inputs, tokens=self._spare_tokens, temperatures=torch.ones(1))
