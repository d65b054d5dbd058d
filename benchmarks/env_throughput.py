"""Speed and memory of the native engine against unmodified LIBERO: ``python -m benchmarks.env_throughput``.

Both sides of every ratio are measured in this one run, in turns, so that other load on the machine affects
both. Prints a Markdown table and writes ``benchmarks/results/env_throughput.json``. With ``--growth`` it
measures instead how cost grows with the numbers of replicas, cameras and tasks, image size and chunk length.
It then plots ``docs/images/engine-growth.png``. With ``--ray`` it measures two Ray actors of one thread
against the native engine with two threads, and writes ``benchmarks/results/env_throughput_ray.json``.

The vectorised baseline is gymnasium's AsyncVectorEnv over unmodified LIBERO environments, which render two
cameras at every step; a second one renders ``agentview`` alone. Each environment needs 1 to 2 GB.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
from typing import Any

import numpy as np
import psutil

from ttrl_env import libero_tasks
from ttrl_env.engines import opengl
from ttrl_env.libero_tasks import LiberoTask

opengl.choose_backend()

import mujoco  # noqa: E402

from benchmarks import env_growth  # noqa: E402
from benchmarks.libero_env import UnmodifiedLiberoEnv, settled_control_env  # noqa: E402
from benchmarks.measuring import own_bytes, seconds_of  # noqa: E402
from benchmarks.report import Table, machine, save  # noqa: E402
from ttrl_env.engines.interface import EngineConfig, EngineName  # noqa: E402
from ttrl_env.engines.native.engine import NativeEngine  # noqa: E402
from ttrl_env.engines.native.replica import Replica  # noqa: E402
from ttrl_env.engines.native.task.cache import load_bundle  # noqa: E402
from ttrl_env.vector_env import TTRLVectorEnv  # noqa: E402

CHUNK = 8
IMAGE_SIZE = 256
CAMERAS = {"two cameras": ("agentview", "robot0_eye_in_hand"), "agentview alone": ("agentview",)}


def main() -> None:
    """Run the measurements that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--suite", default="libero_spatial")
    parser.add_argument("--task", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=12, help="chunks timed on each side")
    parser.add_argument("--replicas", type=int, default=8, help="rows of the native environment")
    parser.add_argument("--baseline-envs", type=int, nargs="*", default=[4], help="AsyncVectorEnv sizes")
    parser.add_argument("--growth", action="store_true", help="how cost grows, instead of the table")
    parser.add_argument("--ray", action="store_true", help="Ray actors against threads, instead of the table")
    arguments = parser.parse_args()
    if arguments.growth:
        env_growth.main(arguments.suite, arguments.task, arguments.rounds)
        return
    task = libero_tasks.get_task(arguments.suite, arguments.task)
    prepare(task)
    print(f"{machine()}\n{task.suite} task {task.task_id}, chunks of {CHUNK}, {IMAGE_SIZE}x{IMAGE_SIZE}\n")
    table = Table()
    if arguments.ray:
        for image_size in (128, IMAGE_SIZE):
            ray_actors(table, task, arguments.replicas, image_size, arguments.rounds)
        save("env_throughput_ray", {"suite": task.suite, "task_id": task.task_id, "rows": table.rows})
        return
    opening(table, task)
    control_steps(table, task, arguments.rounds)
    threads(table, task, arguments.rounds)
    resets(table, task, arguments.rounds)
    for num_envs in arguments.baseline_envs:
        for cameras in CAMERAS:
            vla_workload(table, task, arguments.replicas, num_envs, cameras, arguments.rounds)
    path = save("env_throughput", {"suite": task.suite, "task_id": task.task_id, "rows": table.rows})
    print(f"\n{path}")


def prepare(task: LiberoTask) -> None:
    """Compile the task and settle its initial states before anything is timed."""
    engine = NativeEngine(EngineConfig(suite=task.suite, num_rows=1, cameras=()))
    engine.reset([0], [task.task_id], [0])
    engine.close()


def opening(table: Table, task: LiberoTask) -> None:
    """Time a new process from import to the first observation of a cached task."""
    script = (
        "import time; start = time.perf_counter();"
        "from ttrl_env.engines.interface import EngineConfig;"
        "from ttrl_env.engines.native.engine import NativeEngine;"
        f"e = NativeEngine(EngineConfig(suite={task.suite!r}, num_rows=1, image_size={IMAGE_SIZE}));"
        f"e.reset([0], [{task.task_id}], [0]); print(time.perf_counter() - start)"
    )
    seconds = [
        float(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
        for _ in range(5)
    ]
    table.add("open a cached task to its first observation", f"{statistics.median(seconds):.2f} s")


def control_steps(table: Table, task: LiberoTask, rounds: int) -> None:
    """Time chunks in one thread without rendering: the native engine, LIBERO, and bare ``mj_step``.

    ``mj_step`` runs LIBERO's unchanged model without a controller: 25 substeps from each state that the
    native engine passes through.
    """
    init_state = libero_tasks.init_states(task.suite, task.task_id)[0]
    native, scout = (Replica(load_bundle(task)) for _ in range(2))
    for replica in (native, scout):
        replica.reset(init_state, 10)
    env = settled_control_env(task, init_state)
    bare = _BareSteps(native)
    rng = np.random.default_rng(0)
    sides: dict[str, list[float]] = {"native": [], "libero": [], "bare": []}
    for _ in range(rounds):
        chunk = rng.uniform(-1, 1, (CHUNK, 7))
        states = []
        for action in chunk:
            states.append(scout.snapshot().integration_state)
            scout.step(action[None])
        sides["native"].append(seconds_of(native.step, chunk) / CHUNK)
        sides["bare"].append(bare.seconds(states) / CHUNK)
        sides["libero"].append(seconds_of(lambda chunk=chunk: [env.step(action) for action in chunk]) / CHUNK)
    ours, libero, bare_ = (statistics.median(sides[name]) for name in ("native", "libero", "bare"))
    what = "control steps, one thread, no rendering"
    table.add(what, _rate(ours), f"ControlEnv {_rate(libero)}", libero / ours)
    table.add(
        "the same, of what bare `mj_step` allows", _rate(ours), f"25 x mj_step {_rate(bare_)}", bare_ / ours
    )
    env.close()


class _BareSteps:
    """Runs ``mj_step`` on LIBERO's model: the bundle's, with the sensors that the engine leaves out."""

    def __init__(self, replica: Replica) -> None:
        self._model = replica.bundle.model
        self._data = mujoco.MjData(self._model)

    def seconds(self, states: list[np.ndarray]) -> float:
        """Seconds of 25 substeps from each state, without the time to restore the states."""
        sensors = int(mujoco.mjtDisableBit.mjDSBL_SENSOR)
        total = 0.0
        self._model.opt.disableflags &= ~sensors
        for state in states:
            mujoco.mj_setState(self._model, self._data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
            total += seconds_of(mujoco.mj_step, self._model, self._data, 25)
        self._model.opt.disableflags |= sensors
        return total


def threads(table: Table, task: LiberoTask, rounds: int) -> None:
    """Time eight rows without cameras on two threads and on one."""
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
            side.append(seconds_of(engine.step, range(8), actions, [CHUNK] * 8))
    one, two = (statistics.median(side) / (8 * CHUNK) for side in sides)
    table.add("eight rows, two threads, no rendering", _rate(two), f"one thread {_rate(one)}", one / two)
    for engine in engines:
        engine.close()


def resets(table: Table, task: LiberoTask, rounds: int) -> None:
    """Time resets without images: to a state used before, to a new shipped one, and with settling."""
    engine = NativeEngine(EngineConfig(suite=task.suite, num_rows=1, cameras=(), num_workers=1))
    engine.reset([0], [task.task_id], [0])
    states = range(1, 1 + rounds)
    new = [seconds_of(engine.reset, [0], [task.task_id], [state]) for state in states]
    seen = [seconds_of(engine.reset, [0], [task.task_id], [state]) for state in states]
    replica, init_states = Replica(load_bundle(task)), libero_tasks.init_states(task.suite, task.task_id)
    settled = [seconds_of(replica.reset, init_states[state], 10) for state in states]
    table.add("reset to a state seen before", f"{1e3 * statistics.median(seen):.1f} ms")
    table.add("reset to any other shipped state", f"{1e3 * statistics.median(new):.1f} ms")
    table.add("settle a state that is not shipped", f"{1e3 * statistics.median(settled):.1f} ms")
    engine.close()


def vla_workload(
    table: Table, task: LiberoTask, replicas: int, num_envs: int, cameras: str, rounds: int
) -> None:
    """Time chunks with one image each, against AsyncVectorEnv, which renders its cameras at every step."""
    before = own_bytes(psutil.Process())
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
    native.step(np.zeros((replicas, CHUNK, 7), np.float32))  # so that every thread has uploaded the scene
    native_bytes = own_bytes(psutil.Process()) - before
    baseline, libero_bytes = _async_libero(task, num_envs, CAMERAS[cameras])
    rng = np.random.default_rng(0)
    native_times, libero_times = [], []
    for k in range(rounds):
        if k % 20 == 19:
            native.reset()
        actions = rng.uniform(-1, 1, (replicas, CHUNK, 7)).astype(np.float32)
        native_times.append(seconds_of(native.step, actions) / (replicas * CHUNK))
        if k % 3 == 0:  # slow, but its times vary little
            actions = rng.uniform(-1, 1, (num_envs, 7)).astype(np.float32)
            libero_times.append(seconds_of(baseline.step, actions) / num_envs)
    ours, theirs = statistics.median(native_times), statistics.median(libero_times)
    other = f"AsyncVectorEnv of {num_envs}, {cameras} {_rate(theirs)}"
    table.add(f"VLA workload, {replicas} rows, env-steps", _rate(ours), other, theirs / ours)
    expected = libero_bytes / num_envs * replicas
    other = f"{replicas} LIBERO environments, {cameras} {expected / 1e9:.2f} GB"
    table.add(
        f"resident memory, {replicas} rows", f"{native_bytes / 1e9:.2f} GB", other, native_bytes / expected
    )
    baseline.close()
    native.close()
    gc.collect()


def ray_actors(table: Table, task: LiberoTask, replicas: int, image_size: int, rounds: int) -> None:
    """Time chunks with one image each in two Ray actors of one thread, against two threads without Ray."""
    engines: tuple[EngineName, ...] = ("native", "ray")
    sides: list[list[float]] = [[], []]
    environments = [
        TTRLVectorEnv(
            task.suite,
            (task.task_id,),
            n_samples=replicas // 2,
            num_groups=2,
            engine=engine,
            num_workers=2,
            chunk_steps=CHUNK,
            image_size=image_size,
            autoreset_mode="disabled",
        )
        for engine in engines
    ]
    for env in environments:
        env.reset(seed=0)
        env.step(np.zeros((replicas, CHUNK, 7), np.float32))  # so that every thread has uploaded the scene
    rng = np.random.default_rng(0)
    for k in range(rounds):
        actions = rng.uniform(-1, 1, (replicas, CHUNK, 7)).astype(np.float32)
        for env, side in zip(environments, sides, strict=True):
            if k % 20 == 19:
                env.reset()
            side.append(seconds_of(env.step, actions) / (replicas * CHUNK))
    threads_, actors = (statistics.median(side) for side in sides)
    what = f"VLA workload in two Ray actors, {replicas} rows, {image_size}x{image_size}, env-steps"
    table.add(what, _rate(actors), f"two threads {_rate(threads_)}", threads_ / actors)
    for env in environments:
        env.close()


def _async_libero(task: LiberoTask, num_envs: int, cameras: tuple[str, ...]) -> tuple[Any, float]:
    """Make and reset an AsyncVectorEnv of unmodified LIBERO; returns it and its memory in bytes."""
    from gymnasium.vector import AsyncVectorEnv

    def make() -> Any:
        return UnmodifiedLiberoEnv(str(task.bddl_file), IMAGE_SIZE, cameras)

    envs = AsyncVectorEnv([make] * num_envs, context="spawn", shared_memory=True)
    envs.reset(seed=0)
    children = psutil.Process().children(recursive=True)
    return envs, float(sum(own_bytes(child) for child in children))


def _rate(seconds: float) -> str:
    return f"{1 / seconds:.1f}/s"


if __name__ == "__main__":
    main()
