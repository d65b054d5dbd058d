"""What the native engine gains over unmodified LIBERO: ``python -m benchmarks.env_throughput``.

Every figure is a ratio of two sides measured in this one run, in turns, so that whatever else the
machine does falls on both. Prints a Markdown table; each line says what is compared.

The vectorised baseline is gymnasium's AsyncVectorEnv over LIBERO environments as they come (two
cameras drawn at every step); it needs 1 to 2 GB for each environment.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil

from ttrl_env import opengl, tasks

opengl.choose_backend()

import mujoco  # type: ignore[import-untyped]  # noqa: E402

from ttrl_env.bundle import load_bundle  # noqa: E402
from ttrl_env.engine import NativeEngine  # noqa: E402
from ttrl_env.replica import Replica  # noqa: E402
from ttrl_env.simulation import EngineConfig  # noqa: E402
from ttrl_env.vector_env import TTRLVectorEnv  # noqa: E402

CHUNK = 8
IMAGE_SIZE = 256


def main() -> None:
    """Run the parts asked for and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--suite", default="libero_spatial")
    parser.add_argument("--task", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=12, help="chunks timed on each side")
    parser.add_argument("--replicas", type=int, default=8, help="rows of the native environment")
    parser.add_argument("--baseline-envs", type=int, nargs="*", default=[4], help="AsyncVectorEnv sizes")
    arguments = parser.parse_args()
    task = tasks.get_task(arguments.suite, arguments.task)
    load_bundle(task)  # compiled before anything is timed
    print(f"{_machine()}\n{task.suite} task {task.task_id}, chunks of {CHUNK}, {IMAGE_SIZE}x{IMAGE_SIZE}\n")
    print("| what | native | compared with | ratio |\n|---|---|---|---|", flush=True)
    opening(task)
    control_steps(task, arguments.rounds)
    threads(task, arguments.rounds)
    resets(task, arguments.rounds)
    for num_envs in arguments.baseline_envs:
        vla_workload(task, arguments.replicas, num_envs, arguments.rounds)


def opening(task: tasks.Task) -> None:
    """A new process, from import to the first observation of a cached task."""
    script = (
        "import time; start = time.perf_counter();"
        "from ttrl_env.simulation import EngineConfig; from ttrl_env.engine import NativeEngine;"
        f"e = NativeEngine(EngineConfig(suite={task.suite!r}, num_rows=1, image_size={IMAGE_SIZE}));"
        f"e.reset([0], [{task.task_id}], [0]); print(time.perf_counter() - start)"
    )
    seconds = [
        float(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    _row("open a cached task to its first observation", f"{statistics.median(seconds):.2f} s", "", "")


def control_steps(task: tasks.Task, rounds: int) -> None:
    """One thread, no rendering: native, LIBERO's ControlEnv, and bare ``mj_step`` on the same states."""
    init_state = tasks.init_states(task.suite, task.task_id)[0]
    replica = Replica(load_bundle(task))
    replica.reset(init_state, 10)
    env = _control_env(task, init_state)
    bare = mujoco.MjData(replica.bundle.model)
    rng = np.random.default_rng(0)

    sides: dict[str, list[float]] = {"native": [], "libero": [], "bare": []}
    for action in rng.uniform(-1, 1, (CHUNK * rounds, 7)):
        mujoco.mj_copyData(bare, replica.bundle.model, replica._data)
        sides["native"].append(_seconds(replica.step, action[None]))
        sides["bare"].append(_seconds(mujoco.mj_step, replica.bundle.model, bare, 25))
        sides["libero"].append(_seconds(env.step, action))
    native, libero, bare_ = (statistics.median(sides[name]) for name in ("native", "libero", "bare"))
    _row(
        "control steps, one thread, no rendering",
        _rate(native),
        f"ControlEnv {_rate(libero)}",
        libero / native,
    )
    _row(
        "the same, of what bare `mj_step` allows",
        _rate(native),
        f"25 x mj_step {_rate(bare_)}",
        bare_ / native,
    )
    env.close()


def threads(task: tasks.Task, rounds: int) -> None:
    """Eight rows without cameras on two threads and on one."""
    engines = []
    for num_workers in (1, 2):
        config = EngineConfig(suite=task.suite, num_rows=8, cameras=(), num_workers=num_workers)
        engines.append(NativeEngine(config))
        engines[-1].reset(range(8), [task.task_id] * 8, [0] * 8)
    rng = np.random.default_rng(0)
    sides: list[list[float]] = [[], []]
    for _ in range(rounds):
        actions = rng.uniform(-1, 1, (8, CHUNK, 7))
        for engine, side in zip(engines, sides, strict=True):
            side.append(_seconds(engine.step, range(8), actions, [CHUNK] * 8))
    one, two = (statistics.median(side) / (8 * CHUNK) for side in sides)
    _row("eight rows, two threads, no rendering", _rate(two), f"one thread {_rate(one)}", one / two)
    for engine in engines:
        engine.close()


def resets(task: tasks.Task, rounds: int) -> None:
    """Resetting a row: to a state seen before, and to a new one (ten settle steps)."""
    config = EngineConfig(suite=task.suite, num_rows=1, cameras=(), num_workers=1)
    engine = NativeEngine(config)
    engine.reset([0], [task.task_id], [0])
    new = [_seconds(engine.reset, [0], [task.task_id], [state]) for state in range(1, 1 + rounds)]
    seen = [_seconds(engine.reset, [0], [task.task_id], [state]) for state in range(1, 1 + rounds)]
    _row("reset to a state seen before", f"{1e3 * statistics.median(seen):.1f} ms", "", "")
    _row("reset to a new state, settled", f"{1e3 * statistics.median(new):.1f} ms", "", "")
    engine.close()


def vla_workload(task: tasks.Task, replicas: int, num_envs: int, rounds: int) -> None:
    """Chunks of a VLA policy, an image each, against AsyncVectorEnv drawing two cameras every step."""
    before = _resident()
    native = TTRLVectorEnv(
        task.suite,
        (task.task_id,),
        n_samples=replicas,
        engine="native",
        chunk_steps=CHUNK,
        image_size=IMAGE_SIZE,
        autoreset_mode="disabled",
    )
    native.reset(seed=0)
    native.step(np.zeros((replicas, CHUNK, 7), np.float32))  # every thread has uploaded the scene then
    native_bytes = _resident() - before
    baseline, libero_bytes = _async_libero(task, num_envs)
    rng = np.random.default_rng(0)
    native_times, libero_times = [], []
    for k in range(rounds):
        if k % 20 == 19:
            native.reset()
        actions = rng.uniform(-1, 1, (replicas, CHUNK, 7)).astype(np.float32)
        native_times.append(_seconds(native.step, actions) / (replicas * CHUNK))
        if k % 3 == 0:  # slow, and steady
            libero_times.append(
                _seconds(baseline.step, rng.uniform(-1, 1, (num_envs, 7)).astype(np.float32)) / num_envs
            )
    ours, theirs = statistics.median(native_times), statistics.median(libero_times)
    _row(
        f"VLA workload, {replicas} rows, env-steps",
        _rate(ours),
        f"AsyncVectorEnv of {num_envs}, two cameras {_rate(theirs)}",
        theirs / ours,
    )
    per_env = libero_bytes / num_envs
    _row(
        f"resident memory, {replicas} rows",
        f"{native_bytes / 1e9:.2f} GB",
        f"{replicas} LIBERO environments {per_env * replicas / 1e9:.2f} GB",
        native_bytes / (per_env * replicas),
    )
    baseline.close()
    native.close()
    gc.collect()


def _control_env(task: tasks.Task, init_state: np.ndarray) -> Any:
    """LIBERO's environment without cameras."""
    from libero.libero.envs.env_wrapper import ControlEnv

    env = ControlEnv(bddl_file_name=str(task.bddl_file), use_camera_obs=False, has_offscreen_renderer=False)
    env.seed(0)
    env.reset()
    env.set_init_state(init_state)
    for _ in range(10):
        env.step([0.0] * 6 + [-1.0])
    return env


def _async_libero(task: tasks.Task, num_envs: int) -> tuple[Any, float]:
    """AsyncVectorEnv of LIBERO environments as they come, reset, and the memory its processes hold."""
    from gymnasium.vector import AsyncVectorEnv

    from benchmarks.libero_env import LiberoEnv

    def make() -> Any:
        return LiberoEnv(str(task.bddl_file), IMAGE_SIZE)

    envs = AsyncVectorEnv([make] * num_envs, context="spawn", shared_memory=True)
    envs.reset(seed=0)
    children = psutil.Process().children(recursive=True)
    return envs, float(sum(_own_bytes(child) for child in children))


def _own_bytes(process: psutil.Process) -> float:
    """A process's own memory, and its share of what it shares with others."""
    return float(process.memory_full_info().pss)


def _resident() -> float:
    return _own_bytes(psutil.Process())


def _seconds(call: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def _rate(seconds: float) -> str:
    return f"{1 / seconds:.1f}/s"


def _row(what: str, native: str, other: str, ratio: float | str) -> None:
    shown = ratio if isinstance(ratio, str) else f"{ratio:.2f}"
    print(f"| {what} | {native} | {other} | {shown} |", flush=True)


def _machine() -> str:
    versions = ", ".join(f"{module.__name__} {module.__version__}" for module in (mujoco, np))
    cores = os.cpu_count()
    return f"{platform.machine()}, {cores} cores, MUJOCO_GL={os.environ.get('MUJOCO_GL')}, {versions}"


if __name__ == "__main__":
    main()
