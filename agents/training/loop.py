"""The training loop: roll out, update, evaluate, save.

One iteration, and what passes from part to part::

    Dealer.deal                            in turn, or by the outcomes of earlier episodes
        | a task and an initial state for each group
        v
    collect_rollout <-> TTRLVectorEnv      observations and instructions one way, actions the other;
        |                                  tokens are sampled at each row's temperature
        | Rollout: inputs, tokens, log-probabilities, rewards, success
        v
    draw_groups                            further rollouts until enough groups are kept
        | GroupSelection: the groups to learn from, and all that were played (Dealer.record)
        v
    PPOAgent.update                        targets, epochs, minibatches, loss, step;
        |                                  meanwhile, the next episodes begin (ResetAhead)
        | the policy's new weights, and an UpdateReport for the MetricsWriter
        v
    evaluate, save_checkpoint              every so often

Several processes do this in step. Each plays its part of the groups, and a ``Lockstep`` makes each of them
call the policy equally often.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.common.run_folder import in_run
from ttrl_env.agents.common.supervision import STOPPING, Supervisor
from ttrl_env.agents.common.training_state import TrainingState, read_state
from ttrl_env.agents.common.versions import installed_versions
from ttrl_env.agents.config.bounds import as_config_error
from ttrl_env.agents.config.choices import GroupEstimator, StateOrder
from ttrl_env.agents.config.resuming import (
    changes_on_resuming,
    checkpoint_before,
    offering_the_one_before,
    resume_argument,
)
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.distributed.devices import choose_device, use_usable_cores
from ttrl_env.agents.distributed.processes import ALONE, World, join_world
from ttrl_env.agents.evaluation.evaluate import Evaluation, evaluate
from ttrl_env.agents.evaluation.videos import record_episodes, write_video
from ttrl_env.agents.policies.building import make_policies, policy_options
from ttrl_env.agents.policies.lockstep import Lockstep
from ttrl_env.agents.rollout.assignments import Assignment, Dealer, InTurnDealer
from ttrl_env.agents.rollout.collect import collect_rollout
from ttrl_env.agents.rollout.environments import make_train_env, share_engine
from ttrl_env.agents.rollout.group_selection import GroupSelection, draw_groups
from ttrl_env.agents.rollout.mixed_outcomes import MixedOutcomesDealer
from ttrl_env.agents.rollout.reset_ahead import ResetAhead
from ttrl_env.agents.rollout.types import Rollout
from ttrl_env.agents.training import checkpoints
from ttrl_env.agents.training.introduction import introduce
from ttrl_env.agents.training.metrics import (
    MetricsWriter,
    NoMetrics,
    memory_gigabytes,
    rollout_metrics,
    selection_metrics,
    update_metrics,
)
from ttrl_env.agents.training.preconditions import check_run, checkpoint_to_go_on_from
from ttrl_env.agents.training.same_versions import require_same_versions
from ttrl_env.agents.training.time_left import TimeLeft
from ttrl_env.agents.update.ppo import PPOAgent
from ttrl_env.engines.interface import RestartsSimulations
from ttrl_env.engines.make_engine import EngineChoice, OwnEngine
from ttrl_env.errors import ConfigError, EnvironmentDiedError, TrainingDivergedError
from ttrl_env.machine.folder_lock import folder_lock

_DEALERS: dict[StateOrder, Callable[[TrainConfig, TrainingState | None], Dealer]] = {
    "in_turn": InTurnDealer,
    "mixed_outcomes": MixedOutcomesDealer,
}
"""By ``rollout.states``."""


def train_here(
    config: TrainConfig, display: Display, engine: OwnEngine | EngineChoice | None, supervisor: Supervisor
) -> Path:
    """Train in this process, together with the others of the same run if there are any."""
    check_run(config)
    with as_config_error():
        policy_options(config.policy, config.seed)
    use_usable_cores()
    with join_world(config.policy.device) as world, ExitStack() as stack:
        _check_share(config, world)
        require_same_versions(world)
        world.on_main(lambda: stack.enter_context(folder_lock(config.output_dir, "output_dir")))
        run = _Run(config, display, engine, world, supervisor)
        try:
            return run.loop()
        finally:
            run.close()


class _Run:
    """One training run: policy, agent, environment, and the number of completed iterations."""

    def __init__(
        self,
        config: TrainConfig,
        display: Display,
        engine: OwnEngine | EngineChoice | None,
        world: World = ALONE,
        supervisor: Supervisor | None = None,
    ) -> None:
        self.config = config
        self.supervisor = supervisor or Supervisor()
        self.display = display
        self.world = world
        self.time_left = TimeLeft(config.iterations, config.eval.every)
        checkpoint = world.on_main(lambda: checkpoint_to_go_on_from(config))
        changes = [] if checkpoint is None else changes_on_resuming(checkpoint, config)
        device = str(choose_device(config.policy.device))
        world.on_main(lambda: introduce(config, checkpoint, device, display))
        with offering_the_one_before(checkpoint):
            state = read_state(checkpoint) if checkpoint else None
            self.resumed_from = self.saved = checkpoint  # the last one written, or started from
            self.completed = self.saved_at = state.iteration if state else 0
            # if the checkpoint is of another run, all records in output_dir are of an abandoned course
            self.recorded = self.completed if checkpoint and in_run(checkpoint, config.output_dir) else 0
            self.dealer: Dealer = _DEALERS[config.rollout.states](config, state)
            self.policy, reference = make_policies(config, checkpoint, world)
            checkpoints.require_finite(self.policy, checkpoint or config.policy.path, world)
            self.lockstep = Lockstep(self.policy, world)
            self.agent = PPOAgent(self.lockstep, config.ppo, reference)
            if checkpoint is not None:
                checkpoints.restore_agent(checkpoint, self.agent)
                display.say(f"Resuming after iteration {self.completed} from {checkpoint}")
        for change in changes:
            display.say(f"  {change}")
        env = make_train_env(config, self._deal(draw=0), self.policy, engine, world.num_workers)
        self.env, self.evaluation_env = ResetAhead(env), share_engine(env)
        self.restarts = 0

    def loop(self) -> Path:
        """Iterate to the end or until asked to stop; returns the last checkpoint."""
        config = self.config
        writer, bars = self._make_writer(), self.display.training(config.iterations, self.completed)
        # before the writer removes records: if killed in between, the run can resume the recorded course
        self.world.on_main(lambda: checkpoints.drop_later(config.output_dir, self.completed))
        self.supervisor.began()
        # a second signal must not interrupt the last checkpoint
        with self.supervisor.stop_request(STOPPING if self.world.is_main else "") as stop, writer, bars:
            try:
                due = self._evaluation_is_due(self.completed)
                if due and not self.world.on_main(lambda: writer.has_evaluation(self.completed)):
                    self._evaluate(writer)
                while self.completed < config.iterations and not self.world.any(stop.requested):
                    self._iterate(writer)
            except EnvironmentDiedError:
                if self.world.alone:  # else the others still play, and all must save together
                    self.save()
                raise
            except TrainingDivergedError as error:
                raise TrainingDivergedError(self._last_good(str(error))) from error
            checkpoint = self.save()
        if self.completed < config.iterations:
            stopped = f"Stopped after iteration {self.completed}. Continue with {resume_argument(checkpoint)}"
            # the others wait: torchrun ends this process as soon as one exits with a code other than 0
            self.world.on_main(lambda: self.display.say(stopped))
        return checkpoint

    def save(self) -> Path:
        """Write a checkpoint of the completed iterations, unless it exists; returns its folder."""
        if self.saved is not None and self.saved_at == self.completed:
            return self.saved
        state = TrainingState(
            iteration=self.completed,
            groups_dealt=self.dealer.groups_dealt,
            outcomes=self.dealer.outcomes,
            reference=self.agent.reference_fingerprint,
            config=asdict(self.config),
            versions=installed_versions() | self._versions_elsewhere(),
        )
        self.saved = checkpoints.save_checkpoint(
            self.config.output_dir, self.policy, self.agent, state, keep=self.config.keep_checkpoints
        )
        self.saved_at = self.completed
        self.supervisor.saved(self.saved)
        return self.saved

    def _versions_elsewhere(self) -> dict[str, str]:
        """Versions in the other interpreter, where RoboTwin's engine plays."""
        found: dict[str, str] = getattr(self.env.engine, "versions", {})
        return {f"robotwin/{name}": version for name, version in found.items()}

    def close(self) -> None:
        """Free the simulations."""
        self.env.close()

    def _iterate(self, writer: MetricsWriter) -> None:
        """Roll out, update and record; evaluate and save if due."""
        config, seed = self.config, [self.config.seed, self.completed]
        with self.time_left.iteration():
            groups = self._draw_groups(seed)
            self.dealer.record(groups.played, groups.draws)
            if self.completed + 1 < config.iterations and not self._evaluation_is_due(self.completed + 1):
                self.env.begin(_reset_options(self._deal(draw=0)))
            report = self.agent.update(groups.kept, seed=seed)
        metrics = {
            **rollout_metrics(groups.played),
            **selection_metrics(groups),
            **self.dealer.metrics(),
            **update_metrics(report),
            **self._restart_metrics(),
            "memory_gigabytes": sum(self.world.gather(memory_gigabytes())),
        }
        self.completed += 1
        writer.write(self.completed, metrics)
        self.display.iteration(self.completed, metrics, self.time_left.seconds(self.completed))
        for note in (groups.shortfall, report.warning):
            if note is not None:
                self.display.say(f"iteration {self.completed:4d}  {note}")
        if self._evaluation_is_due(self.completed):
            self._evaluate(writer)
        if self.completed % config.checkpoint_every == 0:
            self.save()

    def _restart_metrics(self) -> dict[str, int]:
        """How many simulations an engine with restarts has set up again since it was last asked."""
        engine = self.env.engine
        if not isinstance(engine, RestartsSimulations):
            return {}
        before, self.restarts = self.restarts, engine.total_restarts
        return {"rollout/simulations_restarted": self.world.total(self.restarts - before)}

    def _evaluation_is_due(self, completed: int) -> bool:
        """Whether to evaluate then: before and after training, and every ``eval.every`` iterations."""
        every, last = self.config.eval.every, completed == self.config.iterations
        return completed == 0 or last or (every > 0 and completed % every == 0)

    def _draw_groups(self, seed: list[int]) -> GroupSelection:
        config = self.config

        def play(draw: int) -> Rollout:
            assignment = self._deal(draw)
            return collect_rollout(
                self.env,
                self.lockstep,
                options=_reset_options(assignment),
                seed=[*seed, draw] if draw else seed,
                temperatures=assignment.shifted(self.env.temperatures),
                rows_at_once=config.rollout.rows_at_once,
                keep_final_inputs=config.ppo.advantage == "gae" and config.ppo.gae.bootstrap_truncated,
                keep_privileged_state=config.ppo.advantage == "critic" and config.ppo.critic.privileged_state,
                progress=self.display.rollout,
            )

        needs_spread = config.ppo.advantage in get_args(GroupEstimator)
        return draw_groups(
            play, config.rollout, config.env.num_groups, needs_spread=needs_spread, world=self.world
        )

    def _deal(self, draw: int) -> Assignment:
        """Tasks and initial states for this process's groups in a draw of the iteration."""
        return self.dealer.deal(draw).part(self.world.part(self.config.env.num_groups))

    def _make_writer(self) -> MetricsWriter:
        config = self.config
        if not self.world.is_main:
            return NoMetrics()
        return MetricsWriter(
            config.output_dir,
            completed=self.recorded,
            wandb_project=config.wandb_project,
            config=asdict(config),
        )

    def _evaluate(self, writer: MetricsWriter) -> None:
        config = self.config
        with self.time_left.evaluation():
            result = evaluate(
                self.evaluation_env,
                self.lockstep,
                config.env.task_ids,
                init_states=config.eval.init_states,
                episodes_per_task=config.eval.episodes_per_task,
                temperature=config.eval.temperature,
                repeats=config.eval.repeats,
                seed=config.seed,
                rows_at_once=config.rollout.rows_at_once,
                progress=self.display.evaluating,
            )
        self.display.evaluation(self.completed, result.report())
        video = self._film(result) if writer.shows_videos and self.world.alone else None
        writer.write_evaluation(self.completed, result.report(), video)

    def _film(self, result: Evaluation) -> Path:
        """Play an evaluation's first episode again, with the same tokens, and write its video."""
        episode = result.episodes[0]
        env = share_engine(self.env.env, chunk_steps=1)
        frames = record_episodes(
            env,
            [self.policy],
            episode.init_state_id,
            task_id=episode.task_id,
            repeat=episode.repeat,
            temperature=result.temperature,
            seed=self.config.seed,
        )
        file = Path(self.config.output_dir) / "videos" / f"iteration_{self.completed:06d}.mp4"
        file.parent.mkdir(exist_ok=True)
        write_video(file, frames, fps=env.metadata["render_fps"])
        return file

    def _last_good(self, reason: str) -> str:
        """``reason``, and the command that resumes from the last checkpoint with which that may not recur."""
        last, where = self.saved, ""
        if last is not None and last == self.resumed_from:
            where = f"The run went on from {last} and came no further. "
            last = checkpoint_before(last)
        if last is not None:
            where += f"The last good checkpoint is {last}: continue with {resume_argument(last)}"
        else:
            where += (
                "There is none before it: start again"
                if where
                else "No checkpoint had been written yet: start again"
            )
        return f"iteration {self.completed + 1}: {reason}. {where}"


def _reset_options(assignment: Assignment) -> dict[str, list[int]]:
    return {"task_ids": assignment.task_ids, "init_state_ids": assignment.init_state_ids}


def _check_share(config: TrainConfig, world: World) -> None:
    if config.env.num_groups % world.size:
        raise ConfigError(
            f"env.num_groups: every process plays equally many groups; expected a multiple of the "
            f"{world.size} processes, got {config.env.num_groups}"
        )
    if config.env.engine == "ray" and config.env.num_workers is None and not world.alone:
        raise ConfigError(
            f"env.num_workers: with env.engine=ray and {world.size} processes, expected the number of actors "
            f"of each process, 1 to {config.env.num_groups // world.size} (its groups), got null"
        )
