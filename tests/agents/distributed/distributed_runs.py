"""Runs that one process and two processes have to play alike; as a program, for ``torchrun``, the latter.

``torchrun --nproc-per-node 2 distributed_runs.py FOLDER OPENVLA_CHECKPOINT``: every run of :data:`RUNS`
into ``FOLDER/two/NAME``, then what only several processes can do. The last run ends with a failure.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
import transformers
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.agents.reach import ReachEngine
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.training.train import train
from ttrl_env.errors import ConfigError, EnvironmentDiedError

RUNS: dict[str, tuple[str, ...]] = {
    "grpo": ("ppo.epochs=2", "ppo.minibatch_trajectories=4", "ppo.micro_batch_chunks=5"),
    "gae": (
        "env.max_steps=32",
        "rollout.filter_accuracy=true",  # keeps one group, so that one process has nothing to learn from
        "rollout.accuracy_upper_bound=1.0",
        "ppo.advantage=gae",
        "ppo.gae.bootstrap_truncated=true",
        "ppo.gae.value_backpropagates=true",
        "ppo.loss_reduction=token-mean",
        "ppo.kl_coef=0.1",
        "ppo.micro_batch_chunks=3",
    ),
    "critic": (
        "env.task_ids=[0,1]",
        "rollout.states=mixed_outcomes",
        "rollout.ladder_shift=0.5",
        "rollout.redraw=true",
        "rollout.filter_accuracy=true",
        "ppo.advantage=critic",
        "ppo.critic.batch_chunks=16",
        "ppo.micro_batch_chunks=5",
    ),
    "redraw": (
        "env.max_steps=32",
        "ppo.loss_reduction=token-sum-norm",
        "ppo.target_kl=1e-6",  # all processes stop after the first step
        "ppo.ratio_level=chunk-mean",
        "rollout.redraw=true",
        "rollout.max_draws=3",
        "ppo.minibatch_trajectories=4",
    ),
    "openvla": (
        "env.image_size=32",
        "policy.openvla.decoding=parallel",
        "policy.openvla.gradient_checkpointing=true",
    ),
    "lora": (
        "env.image_size=32",
        "policy.openvla.decoding=parallel",
        "policy.openvla.lora_rank=4",
        "ppo.kl_coef=0.1",
    ),
}


def configuration(folder: Path, name: str, checkpoint: Path, *overrides: str) -> TrainConfig:
    """Two iterations of the run ``name`` in ``folder``; ``checkpoint`` is for those that train OpenVLA."""
    policy = ("policy.image_size=16", "policy.hidden_size=32")
    settings = (
        "test_time_rl=true",
        f"output_dir={folder / name}",
        "iterations=2",
        "checkpoint_every=1",
        "keep_checkpoints=2",
        "env.num_groups=2",
        "env.n_samples=4",
        "env.max_steps=48",
        "env.image_size=16",
        "base_temperature=1.0",
        "policy.device=cpu",
        "ppo.learning_rate=1e-3",
        "ppo.warmup_steps=0",
        "eval.episodes_per_task=3",
        *((f"policy.path={checkpoint}",) if name in ("openvla", "lora") else policy),
        *RUNS.get(name, ()),
        *overrides,
    )
    return load_config(TrainConfig, settings)


def play(config: TrainConfig, engine=ReachEngine) -> Path:
    """The last checkpoint."""
    return train(config, Display(Console(quiet=True)), engine)


class StoppedEngine(ReachEngine):
    """The second process alone gets a signal, in the first rollout."""

    resets = 0

    def reset(self, rows, task_ids, init_state_ids) -> None:
        super().reset(rows, task_ids, init_state_ids)
        self.resets += 1
        if os.environ["RANK"] == "1" and self.resets == 2:  # the first evaluation has its own
            os.kill(os.getpid(), signal.SIGTERM)


class DyingEngine(ReachEngine):
    """The second process's simulation dies in the second rollout, in the middle of an episode."""

    def step(self, rows, actions, max_steps):
        if os.environ["RANK"] == "1" and len(self.stepped_rows) == 9:
            raise EnvironmentDiedError("the simulation of libero_spatial task 0 was killed")
        return super().step(rows, actions, max_steps)


def main(folder: Path, checkpoint: Path) -> None:
    """Everything, in a process started by ``torchrun``."""
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    dist.init_process_group("gloo")  # one for all runs: a second one in the same processes may meet the first
    for name in RUNS:
        play(configuration(folder / "two", name, checkpoint))
    preset = ("preset=openvla-oft-8gpu", "ppo.minibatch_trajectories=8")
    play(configuration(folder / "preset", "openvla", checkpoint, *preset))
    # goes on from what one process has left after its first iteration
    start = folder / "one" / "grpo" / "checkpoints" / "iteration_000001"
    play(replace(configuration(folder / "resumed", "grpo", checkpoint), resume=str(start)))
    play(replace(configuration(folder, "stopped", checkpoint), iterations=50), StoppedEngine)
    try:
        play(configuration(folder, "odd", checkpoint, "env.num_groups=3"))
    except ConfigError as error:
        (folder / f"odd_{os.environ['RANK']}").write_text(str(error))
    play(configuration(folder, "dying", checkpoint, "eval.episodes_per_task=1"), DyingEngine)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
