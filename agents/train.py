"""The training loop: roll out, update, evaluate, save; ``python -m ttrl_env.agents.train key=value``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from gymnasium.vector import AutoresetMode
from torch import nn

from ttrl_env.agents import checkpoints
from ttrl_env.agents.configs import EvalConfig, PolicyConfig, TrainConfig
from ttrl_env.agents.evaluation import Evaluation, evaluate
from ttrl_env.agents.interrupts import StopRequest
from ttrl_env.agents.metrics import MetricsWriter, memory_gigabytes, rollout_metrics, update_metrics
from ttrl_env.agents.policies import TinyVLA, TinyVLAConfig, TokenPolicy, load_policy
from ttrl_env.agents.ppo import PPOAgent
from ttrl_env.agents.progress import Display
from ttrl_env.agents.rollout import Progress, collect_rollout
from ttrl_env.agents.schedule import Assignment, Schedule
from ttrl_env.engines import EngineChoice
from ttrl_env.errors import CheckpointError, ConfigError, EnvironmentDiedError
from ttrl_env.rewards import RewardName
from ttrl_env.simulation import CameraName, EngineConfig, EngineName, SimulationEngine
from ttrl_env.tasks import Split
from ttrl_env.vector_env import TTRLVectorEnv


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m ttrl_env.agents.train key=value ...``: the same as ``ttrl train``."""
    from ttrl_env.agents.cli import main as command_line

    return command_line(["train", *(sys.argv[1:] if arguments is None else arguments)])


def train(config: TrainConfig, display: Display | None = None, engine: EngineChoice | None = None) -> Path:
    """Train a policy as configured; returns the last checkpoint.

    ``engine`` is a simulation engine of the caller's own, instead of the one ``config.env`` names.

    The first Ctrl-C ends the run after the iteration under way, with a checkpoint; so does a
    simulation that dies, whose error is raised again after the checkpoint of the last whole iteration.

    Raises:
        ConfigError: the configuration cannot work (checked before anything is built).
        EnvironmentDiedError: a simulation process died.
    """
    display = display or Display()
    run = _Run(config, display, engine)
    try:
        return run.loop()
    finally:
        run.close()


class _Run:
    """One training run: policy, agent, environment, and how far it has come."""

    def __init__(self, config: TrainConfig, display: Display, engine: EngineChoice | None) -> None:
        self.config = config
        self.display = display
        checkpoint = _checkpoint_to_resume(config)
        self.completed = checkpoints.read_state(checkpoint).iteration if checkpoint else 0
        self.policy = make_policy(config.policy, config.seed, checkpoint)
        _check_image_size(self.policy, config.env.image_size)
        self.agent = PPOAgent(self.policy, config.ppo)
        if checkpoint is not None:
            checkpoints.restore_agent(checkpoint, self.agent)
            display.say(f"Resuming after iteration {self.completed} from {checkpoint}")
        self.schedule = Schedule(config)
        self.env = make_train_env(config, self.schedule[self.completed], self.policy.chunk_steps, engine)
        self.evaluation_env = share_engine(self.env)

    def loop(self) -> Path:
        """Iterate to the end or until asked to stop; returns the last checkpoint."""
        config = self.config
        writer = MetricsWriter(
            config.output_dir,
            completed=self.completed,
            wandb_project=config.wandb_project,
            config=asdict(config),
        )
        with writer, StopRequest() as stop, self.display.training(config.iterations, self.completed):
            if self.completed == 0:
                self._evaluate(writer)
            while self.completed < config.iterations and not stop.requested:
                try:
                    metrics = self._iterate()
                except EnvironmentDiedError:
                    self.save()
                    raise
                self.completed += 1
                writer.write(self.completed, metrics)
                self.display.iteration(self.completed, metrics)
                last = self.completed == config.iterations
                if last or (config.eval.every and self.completed % config.eval.every == 0):
                    self._evaluate(writer)
                if self.completed % config.checkpoint_every == 0:
                    self.save()
        checkpoint = self.save()
        if self.completed < config.iterations:
            self.display.say(f"Stopped after iteration {self.completed}. Continue with resume={checkpoint}")
        return checkpoint

    def save(self) -> Path:
        """Write a checkpoint of the iterations completed."""
        return checkpoints.save_checkpoint(self.policy, self.agent, self.config, self.completed)

    def close(self) -> None:
        """Free the simulations."""
        self.env.close()

    def _iterate(self) -> dict[str, Any]:
        assignment = self.schedule[self.completed]
        rollout = collect_rollout(
            self.env,
            self.policy,
            options={"task_ids": assignment.task_ids, "init_state_ids": assignment.init_state_ids},
            seed=[self.config.seed, self.completed],
            progress=self.display.rollout,
        )
        report = self.agent.update(rollout, seed=[self.config.seed, self.completed])
        return {
            **rollout_metrics(rollout),
            **update_metrics(report),
            "memory_gigabytes": memory_gigabytes(),
        }

    def _evaluate(self, writer: MetricsWriter) -> None:
        result = run_evaluation(
            self.evaluation_env, self.policy, self.config.env.task_ids, self.config.eval, self.config.seed
        )
        self.display.evaluation(self.completed, result)
        writer.write_evaluation(self.completed, result.report())


def run_evaluation(
    env: TTRLVectorEnv,
    policy: TinyVLA,
    task_ids: Sequence[int],
    config: EvalConfig,
    seed: int,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate as configured."""
    return evaluate(
        env,
        policy,
        task_ids,
        init_states=cast(Split, config.init_states),
        episodes_per_task=config.episodes_per_task,
        temperature=config.temperature,
        repeats=config.repeats,
        seed=seed,
        progress=progress,
    )


def make_policy(config: PolicyConfig, seed: int, checkpoint: Path | None = None) -> TinyVLA:
    """The policy of a checkpoint, the one in ``config.path``, or a new TinyVLA drawn from ``seed``."""
    if checkpoint is not None:
        policy = load_policy(checkpoint / "policy")
    elif config.path is not None:
        policy = load_policy(checkpoints.find_policy(config.path))
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            policy = TinyVLA(
                TinyVLAConfig(
                    image_size=config.image_size,
                    chunk_steps=config.chunk_steps,
                    hidden_size=config.hidden_size,
                )
            )
    nn.Module.to(policy, choose_device(config.device))
    return policy


def _check_image_size(policy: TokenPolicy, image_size: int) -> None:
    try:
        policy.check_image_size(image_size)
    except ValueError as error:
        raise ConfigError(f"env.image_size: {error}") from error


def choose_device(name: str) -> torch.device:
    """``"auto"`` is a GPU if there is one; an unusable name raises :class:`ConfigError`."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"policy.device: {name!r} cannot be used here: {error}") from error
    return device


def make_train_env(
    config: TrainConfig, first: Assignment, chunk_steps: int, engine: EngineChoice | None = None
) -> TTRLVectorEnv:
    """The environment of a training run: groups of replicas, finished rows left alone."""
    env = config.env
    return TTRLVectorEnv(
        env.suite,
        first.task_ids,
        env.n_samples,
        base_temperature=config.base_temperature,
        temperature_range=config.temperature_range,
        test_time_rl=config.test_time_rl,
        test_time_rl_reward=cast(RewardName, config.test_time_rl_reward),
        max_steps=env.max_steps,
        chunk_steps=chunk_steps,
        image_size=env.image_size,
        autoreset_mode=AutoresetMode.DISABLED,
        engine=engine or cast(EngineName, env.engine),
        num_workers=env.num_workers,
        fixture_seed=env.fixture_seed,
    )


def share_engine(env: TTRLVectorEnv, chunk_steps: int | None = None) -> TTRLVectorEnv:
    """A view on the simulations of ``env`` in which every row is a group of its own, with binary rewards."""

    def engine(config: EngineConfig) -> SimulationEngine:
        return env.engine

    return TTRLVectorEnv(
        env.suite.name,
        env.task_ids.tolist(),
        1,
        test_time_rl=False,
        max_steps=env.max_steps,
        chunk_steps=env.chunk_steps if chunk_steps is None else chunk_steps,
        image_size=env.engine.config.image_size,
        cameras=cast("tuple[CameraName, ...]", env.engine.config.cameras),
        init_states="all",
        autoreset_mode=AutoresetMode.DISABLED,
        engine=engine,
    )


def _checkpoint_to_resume(config: TrainConfig) -> Path | None:
    existing = checkpoints.list_checkpoints(config.output_dir)
    if config.resume == "auto":
        return existing[-1] if existing else None
    if config.resume is not None:
        return checkpoints.find_checkpoint(config.resume)
    if existing:
        raise CheckpointError(
            f"output_dir: {config.output_dir} already holds a run (up to {existing[-1].name}). "
            f"Continue it with resume=auto, or choose another output_dir"
        )
    return None


if __name__ == "__main__":
    sys.exit(main())
