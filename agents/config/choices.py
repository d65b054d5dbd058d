"""The named choices of the algorithm. Nothing is imported here, so that configurations load fast."""

from __future__ import annotations

from typing import Literal, TypeAlias

GroupEstimator: TypeAlias = Literal["grpo", "drgrpo", "rloo"]
"""How a trajectory is compared with its group: :func:`ttrl_env.agents.update.advantages.group_advantage`."""

AdvantageName: TypeAlias = Literal["grpo", "drgrpo", "rloo", "gae"]
"""``ppo.advantage``: a group estimator, or :func:`ttrl_env.agents.update.gae.gae_over_chunks`."""

Reduction: TypeAlias = Literal["trajectory-mean", "token-mean"]
"""``ppo.loss_reduction``. ``trajectory-mean``: tokens within a trajectory, then trajectories, so that long
and short ones count the same (SimpleVLA-RL). ``token-mean``: all tokens alike, so that a trajectory counts
by its length (DAPO, RLinf)."""

RatioLevel: TypeAlias = Literal["token", "chunk"]
"""``ppo.ratio_level``: a probability ratio for each token, or one for a chunk's tokens together."""

Decoding: TypeAlias = Literal["parallel", "autoregressive"]
"""``policy.openvla.decoding``: OpenVLA-OFT's or the original OpenVLA's."""

WeightType: TypeAlias = Literal["auto", "float32", "bfloat16"]
"""``policy.openvla.dtype``: type of the weights; ``auto``: as stored."""

CHUNK_STEPS = 8
"""Actions a chunk has unless something says otherwise: as many as OpenVLA-OFT's LIBERO checkpoints decode."""
