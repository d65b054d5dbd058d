"""The ten-minute demonstration: a policy that half-knows a real LIBERO task learns it by itself.

``make demo``, or ``python -m ttrl_env.agents.demo``. A scripted expert shows the task a few times, a
small policy is cloned from that, and test-time RL improves it: eight replicas from one initial state,
each sampling at its own temperature, rewarded the more the sooner they succeed. An interrupted demo
goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from rich.table import Table

from ttrl_env import tasks
from ttrl_env.agents.behaviour_cloning import clone_behaviour
from ttrl_env.agents.config_loading import load_config
from ttrl_env.agents.configs import TrainConfig
from ttrl_env.agents.demonstrations import record_demonstrations
from ttrl_env.agents.metrics import EVALUATIONS_FILE, METRICS_FILE, read_records
from ttrl_env.agents.plots import plot_run
from ttrl_env.agents.policies import TinyVLA, TinyVLAConfig, TokenPolicy, load_policy
from ttrl_env.agents.progress import Display
from ttrl_env.agents.train import train
from ttrl_env.agents.videos import record_episodes, write_video
from ttrl_env.errors import TTRLError
from ttrl_env.temperatures import BASE_TEMPERATURE, temperature_ladder
from ttrl_env.vector_env import TTRLVectorEnv

SUITE, TASK_ID = "libero_90", 0
"""Close the top drawer of the cabinet: the scripted expert needs 28 steps, so episodes are short."""

NUM_DEMONSTRATIONS = 1
CLONING_STEPS = 120
"""Enough to succeed now and then, too little to be good at it."""

MAX_STEPS = 48
NUM_GROUPS = 4
"""Groups a rollout: one group's eight episodes alone make an update too noisy (docs/findings)."""

VIDEO_STATE = 45
"""A held-out initial state."""

WARM_START, WARM_START_DRAFT = "warm_start", ".warm_start_draft"
"""Folders of the cloned policy: written under the second name, renamed when whole."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m ttrl_env.agents.demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/demo"), help="folder it writes to")
    parser.add_argument("--iterations", type=int, default=20, help="default %(default)s")
    parser.add_argument("--n-samples", type=int, default=8, help="replicas a group (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    options = parser.parse_args(arguments)
    transformers.logging.disable_progress_bar()  # the terminal shows the demo's own
    torch.set_num_threads(1)  # steady on a busy machine (docs/findings/threads-of-small-networks.md)
    try:
        _run(options.output, options.iterations, options.n_samples, options.seed)
    except TTRLError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"demo: interrupted; run it again to go on from {options.output}", file=sys.stderr)
        return 130
    return 0


def _run(output: Path, iterations: int, n_samples: int, seed: int) -> None:
    started = time.perf_counter()
    display = Display()
    _start_afresh_if_complete(output, display)
    config = _configuration(output, iterations, n_samples, seed)
    task = tasks.get_task(SUITE, TASK_ID)
    display.say(f"Task: {task.instruction!r} ({SUITE} task {TASK_ID}), horizon {MAX_STEPS} steps of 50 ms")
    display.say(f"1. Warm start: a TinyVLA imitates {NUM_DEMONSTRATIONS} demonstration of a scripted expert")
    warm_start = _warm_start(output / WARM_START, seed, display)
    ladder = temperature_ladder(n_samples, config.base_temperature, config.temperature_range)
    display.say(
        f"2. Test-time RL: {NUM_GROUPS} initial states a rollout, {n_samples} replicas of each at "
        f"temperatures {ladder[0]:.2g} to {ladder[-1]:.2g}, "
        f"reward 1 / (1 + steps / {MAX_STEPS}) on success"
    )
    checkpoint = train(config, display)
    if len(read_records(output, METRICS_FILE)) < iterations:
        raise KeyboardInterrupt
    display.say("3. Recording a held-out episode before and after, drawing the curve")
    video, picture = output / "before_and_after.mp4", output / "curve.png"
    before, after = _episodes([warm_start, load_policy(checkpoint)])
    write_video(video, [before, after])
    title = f"Test-time RL on '{task.instruction}', {n_samples} replicas"
    plot_run(output, picture, title, {"before": before, "after": after})
    report = {"seconds": time.perf_counter() - started, **_summary(output)}
    (output / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    display.console.print(_table(report))
    for name, path in (("Curve", picture), ("Video", video), ("Checkpoint", checkpoint), ("Metrics", output)):
        display.say(f"{name + ':':<11} {path}")


def _start_afresh_if_complete(output: Path, display: Display) -> None:
    """Continue an unfinished demo in ``output``; replace a finished one."""
    names = {path.name for path in output.iterdir()} if output.is_dir() else set()
    if {"report.json", WARM_START} <= names:
        display.say(f"{output} holds a finished demo, which is replaced")
        shutil.rmtree(output)
    elif names - {WARM_START_DRAFT} and WARM_START not in names:
        raise TTRLError(f"--output: {output} holds something else than a demo; choose another folder")


def _configuration(output: Path, iterations: int, n_samples: int, seed: int) -> TrainConfig:
    return load_config(
        TrainConfig,
        [
            "preset=tiny-cpu",
            "test_time_rl=true",
            f"env.suite={SUITE}",
            f"env.task_ids=[{TASK_ID}]",
            f"env.max_steps={MAX_STEPS}",
            f"env.n_samples={n_samples}",
            f"env.num_groups={NUM_GROUPS}",
            f"policy.path='{output / WARM_START}'",
            f"output_dir='{output}'",
            "resume=auto",
            f"iterations={iterations}",
            f"seed={seed}",
            f"eval.temperature={BASE_TEMPERATURE}",
            "eval.repeats=3",
            "eval.every=10",
            "checkpoint_every=1",
            "ppo.epochs=4",
        ],
    )


def _warm_start(folder: Path, seed: int, display: Display) -> TokenPolicy:
    """The cloned policy, from ``folder`` if an earlier attempt left it there."""
    if folder.is_dir():
        return load_policy(folder)
    with display.bar("recording demonstrations", NUM_DEMONSTRATIONS) as progress:
        demonstrations = record_demonstrations(
            SUITE, TASK_ID, num_episodes=NUM_DEMONSTRATIONS, seed=seed, progress=progress
        )
    torch.manual_seed(seed)
    policy = TinyVLA(TinyVLAConfig())
    with display.bar("behaviour cloning", CLONING_STEPS) as progress:
        losses = clone_behaviour(policy, demonstrations, steps=CLONING_STEPS, seed=seed, progress=progress)
    display.say(
        f"   {demonstrations.num_steps} demonstrated steps; "
        f"token loss {losses[0]:.2f} -> {losses[-1]:.2f} nats"
    )
    draft = folder.with_name(WARM_START_DRAFT)
    policy.save_pretrained(draft)
    draft.rename(folder)
    return policy


def _episodes(policies: list[TokenPolicy]) -> list[NDArray[np.uint8]]:
    """Frames of each policy's greedy episode from the same held-out state."""
    env = TTRLVectorEnv(
        SUITE,
        [TASK_ID] * len(policies),
        1,
        max_steps=MAX_STEPS,
        init_states="all",
        autoreset_mode="disabled",
    )
    try:
        return record_episodes(env, policies, VIDEO_STATE)
    finally:
        env.close()


def _summary(output: Path) -> dict[str, Any]:
    records, evaluations = read_records(output, METRICS_FILE), read_records(output, EVALUATIONS_FILE)
    third = max(len(records) // 3, 1)
    return {
        "before": {key: evaluations[0][key] for key in _REPORTED},
        "after": {key: evaluations[-1][key] for key in _REPORTED},
        "temperatures": records[0]["rollout/temperatures"],
        "reward_spread_before": sum(record["rollout/reward_spread"] for record in records[:third]) / third,
        "reward_spread_after": sum(record["rollout/reward_spread"] for record in records[-third:]) / third,
        "episodes": sum(len(record["rollout/rewards"]) for record in records),
        "memory_gigabytes": max(record["memory_gigabytes"] for record in records),
    }


_REPORTED = ("success_rate", "success_rate_interval_95", "steps_to_success", "num_episodes")


def _table(report: dict[str, Any]) -> Table:
    table = Table("", "before", "after")
    columns = [report["before"], report["after"]]
    intervals = [each["success_rate_interval_95"] for each in columns]
    steps = [each["steps_to_success"] for each in columns]
    spreads = [report["reward_spread_before"], report["reward_spread_after"]]
    table.add_row(
        f"success on held-out states, {columns[0]['num_episodes']} episodes at T = {BASE_TEMPERATURE}",
        *(f"{each['success_rate']:.0%}" for each in columns),
    )
    table.add_row("  95 % interval", *(f"{low:.0%} - {high:.0%}" for low, high in intervals))
    table.add_row("steps to success", *("-" if each is None else f"{each:.0f}" for each in steps))
    table.add_row("reward spread in a group, first and last third", *(f"{each:.3f}" for each in spreads))
    table.add_section()
    table.add_row("temperatures", f"{report['temperatures'][0]:.2f}", f"to {report['temperatures'][-1]:.2f}")
    table.add_row("training episodes", str(report["episodes"]), "")
    table.add_row("memory, peak", f"{report['memory_gigabytes']:.1f} GB", "")
    table.add_row("time", f"{report['seconds'] / 60:.1f} min", "")
    return table


if __name__ == "__main__":
    sys.exit(main())
