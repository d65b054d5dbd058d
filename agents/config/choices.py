"""Names of the algorithm's variants. This module imports nothing heavy, so that configurations load fast."""

from __future__ import annotations

from typing import Literal, TypeAlias

GroupEstimator: TypeAlias = Literal["grpo", "drgrpo", "rloo"]
"""Estimators of advantages within a group: :func:`ttrl_env.agents.update.advantages.group_advantage`."""

AdvantageName: TypeAlias = Literal["grpo", "drgrpo", "rloo", "gae", "critic"]
"""``ppo.advantage``: a group estimator, or :func:`ttrl_env.agents.update.gae.gae_over_chunks` with the values
of a value head (``gae``) or of a :class:`~ttrl_env.agents.update.critic.Critic`."""

LauncherName: TypeAlias = Literal["torchrun", "ray"]
"""``launcher``: what starts the processes of a run, ``torchrun`` (or nobody, for one) or Ray Train."""

Placement: TypeAlias = Literal["pack", "spread", "strict_pack", "strict_spread"]
"""``ray.placement``: Ray's strategies for placement groups, in lower case."""

StateOrder: TypeAlias = Literal["in_turn", "mixed_outcomes"]
"""``rollout.states``: the dealers of :mod:`ttrl_env.agents.rollout.assignments` and
:mod:`ttrl_env.agents.rollout.mixed_outcomes`."""

Reduction: TypeAlias = Literal["trajectory-mean", "token-mean", "token-sum-norm"]
"""``ppo.loss_reduction``. ``trajectory-mean`` averages the tokens of each trajectory, then the trajectories:
long and short ones have equal weight (SimpleVLA-RL). ``token-mean`` averages over all tokens: a trajectory's
weight is its length (DAPO, RLinf). ``token-sum-norm`` divides the sum over all tokens by trajectories times
the most tokens that one can execute: the weight of a token is a constant (Dr.GRPO; verl calls it
``seq-mean-token-sum-norm``, TRL ``dr_grpo``)."""

RatioLevel: TypeAlias = Literal["token", "chunk", "chunk-mean"]
"""``ppo.ratio_level``: one probability ratio for each token, or one for all tokens of a chunk: their product
or their geometric mean, see :func:`ttrl_env.agents.update.ratios.ratios_at`."""

KLEstimator: TypeAlias = Literal["k2", "k3"]
"""``ppo.kl_estimator``: which of Schulman's estimates of the KL divergence is the penalty:
:func:`ttrl_env.agents.update.kl.kl_estimates`."""

Decoding: TypeAlias = Literal["parallel", "autoregressive"]
"""``policy.openvla.decoding``: OpenVLA-OFT's or the original OpenVLA's."""

WeightType: TypeAlias = Literal["auto", "float32", "bfloat16"]
"""``policy.openvla.dtype``: type of the weights; ``auto``: as stored."""

TINY_VLA, OPENVLA = "tiny_vla", "openvla"
"""``policy.kind``, and ``model_type`` of checkpoints, of the policies that come with the package."""

CHUNK_STEPS = 8
"""Default number of actions in a chunk, as in OpenVLA-OFT's LIBERO checkpoints."""

ROBOTWIN_CHUNK_STEPS = 25
"""The same of a new TinyVLA for RoboTwin, as in SimpleVLA-RL's RoboTwin checkpoints."""
