"""The drop-in classes of ``ttrl_env.libero`` against LIBERO's own: ``python -m benchmarks.libero_drop_in``.

Both sides are measured in this one run, in turns, so that other load on the machine affects both. Prints a
Markdown table and writes ``benchmarks/results/libero_drop_in.json``. Each of LIBERO's environments takes 1 to
2 GB; ``--processes`` says how many of its ``SubprocVectorEnv`` are measured, and memory is scaled from that.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import statistics
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import psutil

from benchmarks.measuring import own_bytes, seconds_of
from benchmarks.report import Table, machine, save
from ttrl_env import libero_tasks
from ttrl_env.engines import opengl
from ttrl_env.engines.interface import SETTLE_ACTION
from ttrl_env.libero_tasks import LiberoTask

opengl.choose_backend()

IMAGE_SIZE = 256
CAMERAS = ("agentview_image", "robot0_eye_in_hand_image")
CHUNK = 8


def main() -> None:
    """Run the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--suite", default="libero_spatial")
    parser.add_argument("--task", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=10, help="turns of each side")
    parser.add_argument("--envs", type=int, default=8, help="environments in our SubprocVectorEnv")
    parser.add_argument("--processes", type=int, default=8, help="environments in LIBERO's SubprocVectorEnv")
    arguments = parser.parse_args()
    task = libero_tasks.get_task(arguments.suite, arguments.task)
    print(f"{machine()}\n{task.suite} task {task.task_id}, {IMAGE_SIZE}x{IMAGE_SIZE}\n")
    table = Table()
    # LIBERO's processes are forked, which needs a process that has not rendered: a fresh one, started first
    theirs = _Elsewhere(_LiberoVector, task, arguments.processes)
    single(table, task, arguments.rounds)
    vector(table, task, arguments.envs, theirs, arguments.processes, arguments.rounds)
    theirs.close()
    content = {"suite": task.suite, "task_id": task.task_id, "rows": table.rows}
    print(f"\n{save('libero_drop_in', content)}")


def single(table: Table, task: LiberoTask, rounds: int) -> None:
    """Resets and control steps of one environment, by which images are read."""
    from ttrl_env.libero import OffScreenRenderEnv, upstream

    ours, libero = (
        _settled(env_class, task) for env_class in (OffScreenRenderEnv, upstream.OffScreenRenderEnv)
    )
    rng = np.random.default_rng(0)
    readers = {
        "no image read": (),
        f"both cameras read every {CHUNK} steps": CAMERAS,
        "both cameras read in each step": CAMERAS,
    }
    for what, keys in readers.items():
        every = CHUNK if "every" in what else 1
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            chunk = rng.uniform(-1, 1, (CHUNK, 7))
            for env, seconds in zip((ours, libero), times, strict=True):
                seconds.append(seconds_of(_play, env, chunk, keys, every) / CHUNK)
        _add(table, f"control steps, {what}", times, "OffScreenRenderEnv")
    resets: tuple[list[float], list[float]] = ([], [])
    for _ in range(max(3, rounds // 3)):
        for env, seconds in zip((ours, libero), resets, strict=True):
            seconds.append(seconds_of(env.reset))
    _add(table, "resets, no image read", resets, "OffScreenRenderEnv")
    ours.close()
    libero.close()
    gc.collect()


def vector(
    table: Table,
    task: LiberoTask,
    num_envs: int,
    theirs: _Elsewhere,
    num_theirs: int,
    rounds: int,
) -> None:
    """Memory and control steps of vector environments."""
    from ttrl_env.libero import SubprocVectorEnv

    before = own_bytes(psutil.Process())
    envs = SubprocVectorEnv([_maker(task)] * num_envs)
    envs.reset()
    _step(envs, num_envs, CAMERAS)
    ours_bytes = own_bytes(psutil.Process()) - before
    expected = theirs.ask("memory") / num_theirs * num_envs
    scaled = "" if num_theirs == num_envs else f", scaled from {num_theirs}"
    table.add(
        f"memory of a SubprocVectorEnv of {num_envs}",
        f"{ours_bytes / 1e9:.2f} GB",
        f"LIBERO's {expected / 1e9:.2f} GB{scaled}",
        ours_bytes / expected,
    )
    for what, keys in {"no image read": (), "both cameras read in each step": CAMERAS}.items():
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            times[0].append(seconds_of(_step, envs, num_envs, keys) / num_envs)
            times[1].append(theirs.ask("step", keys) / num_theirs)
        other = f"SubprocVectorEnv of {num_theirs}"
        _add(table, f"env-steps of a SubprocVectorEnv of {num_envs}, {what}", times, other)
    envs.close()


class _LiberoVector:
    """LIBERO's SubprocVectorEnv, in a process that renders nothing itself."""

    def __init__(self, task: LiberoTask, num_envs: int) -> None:
        from libero.libero.envs import OffScreenRenderEnv, SubprocVectorEnv

        def make() -> Any:
            return OffScreenRenderEnv(**_arguments(task))

        self._num_envs = num_envs
        self._envs = SubprocVectorEnv([make] * num_envs)
        self._envs.reset()

    def memory(self) -> float:
        """Bytes of all environments' processes."""
        return sum(own_bytes(child) for child in psutil.Process().children(recursive=True))

    def step(self, keys: tuple[str, ...]) -> float:
        """Seconds of a step."""
        return seconds_of(_step, self._envs, self._num_envs, keys)

    def close(self) -> None:
        """End the processes."""
        self._envs.close()


class _Elsewhere:
    """An object in a process of its own."""

    def __init__(self, made: Callable[..., Any], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, made, arguments))
        self._process.start()
        self._connection.recv()

    def ask(self, method: str, *arguments: Any) -> float:
        """The result of one of the object's methods."""
        self._connection.send((method, arguments))
        return float(self._connection.recv())

    def close(self) -> None:
        """Close the object and end its process."""
        self._connection.send(None)
        self._process.join()


def _serve(connection: Connection, made: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    served = made(*arguments)
    connection.send(True)
    while (request := connection.recv()) is not None:
        connection.send(getattr(served, request[0])(*request[1]))
    served.close()


def _arguments(task: LiberoTask) -> dict[str, Any]:
    return {
        "bddl_file_name": str(task.bddl_file),
        "camera_heights": IMAGE_SIZE,
        "camera_widths": IMAGE_SIZE,
        "ignore_done": True,
    }


def _maker(task: LiberoTask) -> Callable[[], Any]:
    def make() -> Any:
        from ttrl_env.libero import OffScreenRenderEnv

        return OffScreenRenderEnv(**_arguments(task))

    return make


def _settled(env_class: Any, task: LiberoTask) -> Any:
    """An environment at a settled initial state, with everything compiled and uploaded."""
    env = env_class(**_arguments(task))
    env.seed(0)
    env.reset()
    env.set_init_state(libero_tasks.init_states(task.suite, task.task_id)[0])
    for _ in range(10):
        observation = env.step(list(SETTLE_ACTION))[0]
    for key in CAMERAS:
        assert observation[key].any()
    return env


def _play(env: Any, chunk: np.ndarray, keys: tuple[str, ...], every: int) -> None:
    for number, action in enumerate(chunk, start=1):
        observation = env.step(action)[0]
        if number % every == 0:
            for key in keys:
                assert observation[key].any()


def _step(envs: Any, num_envs: int, keys: tuple[str, ...]) -> None:
    observations = envs.step(np.tile(SETTLE_ACTION, (num_envs, 1)))[0]
    for key in keys:
        for observation in observations:
            assert observation[key].any()


def _add(table: Table, what: str, times: tuple[list[float], list[float]], other: str) -> None:
    ours, theirs = (statistics.median(seconds) for seconds in times)
    table.add(what, f"{1 / ours:.1f}/s", f"LIBERO's {other} {1 / theirs:.2f}/s", theirs / ours)


if __name__ == "__main__":
    main()
