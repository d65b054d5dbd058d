"""The ten-minute demonstration: test-time RL adapts a policy to a changed version of a task that it knows.

Run it with ``ttrl demo``. The policy that ships with the package was
cloned from demonstrations of LIBERO's tasks. On LIBERO-PRO's changed version of one of them it often fails.
Test-time RL needs no demonstration of the change. Eight replicas start from one initial state, and each
samples at its own temperature; an earlier success earns a higher reward. An interrupted demo continues when
it is run again.
"""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ttrl_env import libero_tasks
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.demo.config import DemoConfig
from ttrl_env.agents.demo.folder import (
    CURVE,
    LOCK,
    RECORD,
    REPORT,
    VIDEO,
    open_folder,
    refuse_another_folder,
)
from ttrl_env.agents.demo.report import describe_changes, make_table, summarise
from ttrl_env.agents.evaluation.evaluate import Evaluation, evaluate
from ttrl_env.agents.evaluation.videos import record_episodes, write_video
from ttrl_env.agents.policies import TokenPolicy, load_policy
from ttrl_env.agents.rollout.environments import make_evaluation_env, share_engine
from ttrl_env.agents.training.metrics import METRICS_FILE, read_records
from ttrl_env.agents.training.plots import plot_run
from ttrl_env.agents.training.train import train
from ttrl_env.engines.make_engine import EngineChoice
from ttrl_env.libero_tasks import LiberoTask
from ttrl_env.libero_version import installed_mujoco
from ttrl_env.machine.folder_lock import folder_lock
from ttrl_env.machine.whole_files import read_object, write_whole
from ttrl_env.replica_env import ReplicaVectorEnv
from ttrl_env.temperatures import BASE_TEMPERATURE, temperature_ladder

POLICY = "tiny-vla-libero-object-four"
"""The policy it starts from, which ships with the package."""

BASE_SUITE = "libero_object"
"""The suite that this policy was cloned from."""

SUITE, TASK_ID = "libero_object_object", 3
"""The changed task: the task of the same number in LIBERO-PRO's suite with other objects."""

MAX_STEPS = 112
"""Horizon in policy steps: room for a success without detours."""

NUM_GROUPS = 4
"""Groups in a rollout: an update from the eight episodes of one group is too noisy (docs/findings)."""


def run_demo(config: DemoConfig, display: Display, engine: EngineChoice = "native") -> None:
    """Run the demonstration, by default on real simulations.

    Raises:
        TTRLError: the folder holds something else, or an unfinished demo with other settings.
    """
    torch.set_num_threads(1)  # steady on a busy machine (docs/findings/threads-of-small-networks.md)
    output, settings = Path(config.output_dir), _settings(config)
    refuse_another_folder(output)
    _configuration(config)  # a mistake in it is found before a finished demo is removed
    with folder_lock(output, "output_dir", LOCK):
        open_folder(output, settings, display)
        # not before: the values of a finished demo must not be taken over
        resuming = _configuration(config, "resume=auto")
        _play(_Demo(output=output, settings=settings, config=resuming, display=display, engine=engine))


@dataclass(frozen=True, kw_only=True)
class _Demo:
    """One run of the demo: its folder, settings, configuration, display and engine."""

    output: Path
    settings: dict[str, Any]
    config: TrainConfig
    display: Display
    engine: EngineChoice


def _settings(config: DemoConfig) -> dict[str, Any]:
    """All settings that determine the result."""
    return {
        "policy": POLICY,
        "suite": SUITE,
        "task_id": TASK_ID,
        "max_steps": MAX_STEPS,
        "iterations": config.iterations,
        "n_samples": config.n_samples,
        "seed": config.seed,
        "mujoco": installed_mujoco(),
    }


def _play(demo: _Demo) -> None:
    started, output, display = time.perf_counter(), demo.output, demo.display
    _introduce(demo)
    before = load_policy(POLICY)
    record = _before(demo, before)
    checkpoint = train(demo.config, display, demo.engine)
    if len(read_records(output, METRICS_FILE)) < demo.config.iterations:
        raise KeyboardInterrupt
    display.say("3. The greedy policy again; a video of before and after, and the curve")
    after, filmed = load_policy(checkpoint), record["filmed_init_state"]
    with closing(_environment(demo, before)) as env:
        greedy = _play_greedily(env, after, display).totals()
        episodes = record_episodes(share_engine(env, chunk_steps=1), [before, after], filmed)
    video, curve = output / VIDEO, output / CURVE
    write_video(video, episodes)
    title = f"Test-time RL on '{_task(SUITE).instruction}' with {_changes()}"
    plot_run(output, curve, title, dict(zip(("before", "after"), episodes, strict=True)))
    report = {
        "seconds": time.perf_counter() - started,
        "instruction": _task(SUITE).instruction,
        "changes": _changes(),
        **summarise(output, record, greedy),
    }
    write_whole(output / REPORT, json.dumps(report, indent=1) + "\n")
    display.console.print(make_table(report))
    display.say(f"The video starts from held-out state {filmed}: {record['why_filmed']}")
    for name, path in (("Curve", curve), ("Video", video), ("Checkpoint", checkpoint), ("Metrics", output)):
        display.say(f"{name + ':':<11} {path}")


def _configuration(config: DemoConfig, *overrides: str) -> TrainConfig:
    return load_config(
        TrainConfig,
        [
            "preset=tiny-cpu",
            "test_time_rl=true",
            f"env.suite={SUITE}",
            f"env.task_ids=[{TASK_ID}]",
            f"env.max_steps={MAX_STEPS}",
            f"env.n_samples={config.n_samples}",
            f"env.num_groups={NUM_GROUPS}",
            f"policy.path={POLICY}",
            f"iterations={config.iterations}",
            f"seed={config.seed}",
            f"eval.temperature={BASE_TEMPERATURE}",
            "eval.repeats=3",
            "eval.every=10",
            "checkpoint_every=1",
            "ppo.epochs=4",
            *overrides,
        ],
        {"output_dir": config.output_dir},
    )


def _introduce(demo: _Demo) -> None:
    config, say = demo.config, demo.display.say
    ladder = temperature_ladder(config.env.n_samples, config.base_temperature, config.temperature_range)
    say(
        f"Task: {_task(SUITE).instruction!r} with {_changes()} ({SUITE} task {TASK_ID}); episodes end after "
        f"{MAX_STEPS} steps of 50 ms"
    )
    say(f"1. {POLICY}, cloned on {BASE_SUITE}, tries it greedily from every held-out state")
    say(
        f"2. Test-time RL: {NUM_GROUPS} initial states a rollout, {config.env.n_samples} replicas of each at "
        f"temperatures {ladder[0]:.2g} to {ladder[-1]:.2g}, reward 1 / (1 + steps / {MAX_STEPS}) on success"
    )


def _task(suite: str) -> LiberoTask:
    return libero_tasks.get_task(suite, TASK_ID)


def _changes() -> str:
    return describe_changes(_task(BASE_SUITE), _task(SUITE))


def _before(demo: _Demo, policy: TokenPolicy) -> dict[str, Any]:
    """Evaluate the greedy policy before training, and choose the initial state of the video.

    The state is chosen before training and stored in a file, so the choice cannot depend on its result.
    """
    file = demo.output / RECORD
    if not file.is_file():
        with closing(_environment(demo, policy)) as env:
            greedy = _play_greedily(env, policy, demo.display)
        states = {episode.init_state_id: episode.success for episode in greedy.episodes}
        failed = [state for state, success in states.items() if not success]
        which = (
            "the first that the greedy policy failed from" if failed else "the first, as none was failed from"
        )
        record = {
            "filmed_init_state": min(failed or states),
            "why_filmed": f"{which}, chosen before training",
        }
        record = {"settings": demo.settings, "greedy": greedy.totals(), **record}
        write_whole(file, json.dumps(record, indent=1) + "\n")
    return read_object(file, "remove the folder to begin anew")


def _environment(demo: _Demo, policy: TokenPolicy) -> ReplicaVectorEnv:
    rows = [TASK_ID] * NUM_GROUPS
    return make_evaluation_env(demo.config.env, rows, policy.cameras, engine=demo.engine)


def _play_greedily(env: ReplicaVectorEnv, policy: TokenPolicy, display: Display) -> Evaluation:
    with display.bar("greedy, held-out states", total=0) as progress:
        return evaluate(share_engine(env, policy.chunk_steps), policy, [TASK_ID], progress=progress)
