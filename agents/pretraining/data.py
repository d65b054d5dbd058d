"""Converts demonstrations to a policy's inputs and tokens in memory, and splits them by episode."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttrl_env.agents.policies import PolicyInputs, TinyVLA
from ttrl_env.agents.policies.cameras import libero_cameras
from ttrl_env.agents.policies.protocol import tokens_per_chunk
from ttrl_env.agents.pretraining.config import PretrainConfig
from ttrl_env.agents.pretraining.sources import Source
from ttrl_env.demonstrations.recorded import DataSize, RecordedEpisode
from ttrl_env.errors import ConfigError
from ttrl_env.machine.memory import require_memory


class Pairs:
    """``M`` training pairs: an observation and the chunk of action tokens that follows it."""

    def __init__(self, inputs: PolicyInputs, tokens: Tensor) -> None:
        """``inputs`` with first axis ``M``; ``tokens`` ``[M, K]`` int64."""
        self.inputs = inputs
        self.tokens = tokens

    def __len__(self) -> int:
        """Number of pairs, ``M``."""
        return len(self.tokens)

    def __getitem__(self, rows: Tensor) -> tuple[PolicyInputs, Tensor]:
        """The pairs of some rows."""
        return {key: tensor[rows] for key, tensor in self.inputs.items()}, self.tokens[rows]


def load_pairs(
    config: PretrainConfig, sources: Sequence[Source], policy: TinyVLA, say: Callable[[str], None]
) -> tuple[Pairs, Pairs]:
    """Training pairs and validation pairs; the latter may be empty.

    Each episode's images are resized to the policy's input size as it is read, to save memory. All sources
    and the memory they need are checked before the first one is read.

    Raises :class:`ConfigError` if a source or one of its demonstrations cannot be used; the message names it.
    """
    train, validation = [], []
    instructions = set()
    wanted = libero_cameras(policy.cameras), config.pairing, config.max_episodes
    sizes = [source.measure(*wanted) for source in sources]
    for source, size in zip(sources, sizes, strict=True):
        _check_images(policy, source, size)
    _check_memory(policy, sizes)
    for source in sources:
        episodes = []
        for episode in source.read(*wanted):
            episodes.append(episode_pairs(policy, episode))
            instructions.add(episode.instruction)
        kept_out = _kept_out(len(episodes), config)
        train += [pairs for index, pairs in enumerate(episodes) if index not in kept_out]
        validation += [pairs for index, pairs in enumerate(episodes) if index in kept_out]
    if not train:
        raise ConfigError("data: no episode is left to train on; lower validation_fraction")
    joined = join(train), join(validation, like=train[0])
    say(
        f"{len(train)} episodes ({len(joined[0])} steps) of {len(instructions)} instructions to train on, "
        f"{len(validation)} ({len(joined[1])}) to validate"
    )
    return joined


def episode_pairs(policy: TinyVLA, episode: RecordedEpisode) -> Pairs:
    """The pairs of an episode, one a step. A chunk that extends past the end repeats the last action."""
    inputs = policy.prepare(episode.observations, [episode.instruction] * len(episode.actions))
    return Pairs(inputs, policy.encode(action_chunks(episode.actions, policy.chunk_steps)))


def action_chunks(actions: NDArray[np.float32], chunk_steps: int) -> NDArray[np.float32]:
    """Chunks ``[T, chunk_steps, D]`` from actions ``[T, D]``: each step's action and those that follow it.

    Past the end the last action is repeated. Success ends an episode, so a policy acts beyond a
    demonstration's last step only if it is slower. Continuing is then right; standing still could prevent it
    from ever finishing.
    """
    at = np.arange(len(actions))[:, None] + np.arange(chunk_steps)
    return actions[np.minimum(at, len(actions) - 1)]


def join(parts: Sequence[Pairs], like: Pairs | None = None) -> Pairs:
    """Concatenate pairs. Without parts, the result has no pairs, and the keys and shapes of ``like``."""
    if not parts:
        assert like is not None
        return Pairs({key: tensor[:0] for key, tensor in like.inputs.items()}, like.tokens[:0])
    inputs = {key: torch.cat([part.inputs[key] for part in parts]) for key in parts[0].inputs}
    return Pairs(inputs, torch.cat([part.tokens for part in parts]))


def _check_memory(policy: TinyVLA, sizes: Sequence[DataSize]) -> None:
    """Raise before reading if the pairs do not fit into memory; joining them takes it twice."""
    row = len(policy.cameras) * 3 * policy.config.image_size**2 + 8 * policy.config.max_words
    row += 8 * tokens_per_chunk(policy)
    steps = sum(size.num_steps for size in sizes)
    needed = 2 * steps * row + 2 * max(size.largest_episode_bytes for size in sizes)
    require_memory(
        needed,
        f"data: reading {steps} steps",
        "name less data, or lower max_episodes or policy.image_size",
    )


def _kept_out(num_episodes: int, config: PretrainConfig) -> set[int]:
    """Indices of a source's validation episodes: a random choice fixed by the seed, at least one if any."""
    if config.validation_fraction == 0.0 or num_episodes < 2:
        return set()
    number = max(round(config.validation_fraction * num_episodes), 1)
    return set(np.random.default_rng(config.seed).permutation(num_episodes)[:number].tolist())


def _check_images(policy: TinyVLA, source: Source, size: DataSize) -> None:
    for image_size in sorted(size.image_sizes):
        try:
            policy.check_image_size(image_size)
        except ValueError as error:
            raise ConfigError(f"policy.image_size: {error} in {source.name}") from error
