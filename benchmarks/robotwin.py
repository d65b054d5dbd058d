"""RoboTwin's workers against its runtime called directly: ``python -m benchmarks.robotwin``.

Plays a task of boxes with the assets that the tests make, after `ttrl robotwin setup` or with the interpreter
that ``TTRL_ROBOTWIN_PYTHON`` names. Sides are measured in turns, so that other load on the machine affects
both. Takes 10 minutes, prints a Markdown table and writes ``benchmarks/results/robotwin.json``.

- Overhead: one row in one worker and the runtime called directly play the same chunks and draw the same
  images. CPU time is of all processes of a side. The protocol alone is that of a trivial simulation.
- Throughput: two rows in two workers against one row in one.
- Memory: a worker's while rows are added to it, and that of two workers with a row each, all after drawing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks import robotwin_direct
from benchmarks.measuring import own_bytes, seconds_of
from benchmarks.report import save
from tests.ttrl_env.robotwin.asset_pack import write_asset_pack
from tests.ttrl_env.robotwin.fake_engine import fake_engine
from ttrl_env.engines.worker_process import worker_environment
from ttrl_env.machine.cores import usable_cores
from ttrl_env.robotwin.catalogue import task_id_of
from ttrl_env.robotwin.config import RoboTwinConfig
from ttrl_env.robotwin.engine import RoboTwinEngine
from ttrl_env.robotwin.processes import RUNTIME, check_python, find_python

TASK = "stack_blocks_two"
STATE, SEED = 1, 100_001
CHUNK = 25
ROWS_OF_A_WORKER = 4

EngineMaker: TypeAlias = Callable[[RoboTwinConfig], RoboTwinEngine]


def main() -> None:
    """Run the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="turns of each side")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        assets = str(write_asset_pack(Path(folder)))
        content = {
            "task": TASK,
            "chunk_steps": CHUNK,
            "rounds": rounds,
            "runtime": check_python(find_python(None), RUNTIME),
            "overhead": overhead(assets, rounds),
            "throughput": throughput(assets, rounds),
            "memory": memory(assets),
        }
    print_table(content)
    print(save("robotwin", content))


def overhead(assets: str, rounds: int) -> dict[str, float]:
    """Seconds of a chunk and its image: of a worker, directly, and of the protocol alone."""
    worker: dict[str, list[float]] = {"wall": [], "cpu": []}
    direct: dict[str, list[float]] = {"wall": [], "cpu": []}
    idle: list[float] = []
    with (
        _engine(assets, 1, 1) as engine,
        _engine(assets, 1, 1, fake_engine) as nothing,
        _direct(assets) as runtime,
    ):
        chunks = _chunks(engine.observations["joint_state"][0], rounds + 1)
        for number, chunk in enumerate(chunks):
            here, there = psutil.Process(), psutil.Process(runtime.pid)
            start = _cpu_seconds(here, without=there)
            wall = seconds_of(engine.step, [0], chunk[None], [CHUNK])
            cpu = _cpu_seconds(here, without=there) - start
            start = _cpu_seconds(there)
            told = _tell(runtime, chunk)
            assert told["qpos"] == engine.state(0).qpos, "the two sides do not play alike"
            if number:  # the first one warms up
                worker["wall"].append(wall)
                worker["cpu"].append(cpu)
                direct["wall"].append(told["seconds"])
                direct["cpu"].append(_cpu_seconds(there) - start)
                idle.append(seconds_of(nothing.step, [0], chunk[None], [CHUNK]))
    return {
        **{f"worker_{kind}": statistics.median(seconds) for kind, seconds in worker.items()},
        **{f"direct_{kind}": statistics.median(seconds) for kind, seconds in direct.items()},
        "protocol_wall": statistics.median(idle),
    }


def throughput(assets: str, rounds: int) -> dict[str, float]:
    """Seconds of a chunk of one row in one worker, and of two rows in two."""
    seconds: dict[str, list[float]] = {"one": [], "two": []}
    with _engine(assets, 1, 1) as one, _engine(assets, 2, 2) as two:
        for number, chunk in enumerate(_chunks(one.observations["joint_state"][0], rounds + 1)):
            wall = {
                "one": seconds_of(one.step, [0], chunk[None], [CHUNK]),
                "two": seconds_of(two.step, [0, 1], np.stack([chunk] * 2), [CHUNK] * 2),
            }
            for name in wall if number else ():
                seconds[name].append(wall[name])
    return {name: statistics.median(values) for name, values in seconds.items()}


def memory(assets: str) -> dict[str, Any]:
    """Bytes (PSS) of a worker with one row to four, and of each of two workers with a row."""
    grown = []
    with _engine(assets, ROWS_OF_A_WORKER, 1, reset=False) as engine:
        for row in range(ROWS_OF_A_WORKER):
            engine.reset([row], [task_id_of(TASK)], [STATE])
            grown.append(sum(map(own_bytes, psutil.Process().children())))
    with _engine(assets, 2, 2):
        each = [own_bytes(child) for child in psutil.Process().children()]
    return {"one_worker": grown, "two_workers": each}


def print_table(content: dict[str, Any]) -> None:
    """The ratios, with what they are made of."""
    cost, gain, use = content["overhead"], content["throughput"], content["memory"]
    further = (use["one_worker"][-1] - use["one_worker"][0]) / (ROWS_OF_A_WORKER - 1)
    process = statistics.mean(use["two_workers"])
    rows = [
        ("overhead, wall time", cost["worker_wall"], cost["direct_wall"], "s a chunk", -1.0),
        ("overhead, CPU time", cost["worker_cpu"], cost["direct_cpu"], "s a chunk", -1.0),
        ("protocol alone of the chunk", cost["protocol_wall"], cost["direct_wall"], "s a chunk", 0.0),
        ("rows a second, two workers", 2 / gain["two"], 1 / gain["one"], "chunks/s", 0.0),
        ("memory of a further row", further / 1e9, process / 1e9, "GB, a process", 0.0),
    ]
    print("| what | workers | compared with | ratio |\n|---|---|---|---|")
    for what, ours, other, unit, offset in rows:
        ratio = ours / other + offset
        text = f"{ratio:.2f}" if ratio > 1 else f"{100 * ratio:.1f} %"
        print(f"| {what} | {ours:.4g} | {other:.4g} {unit} | {text} |")


@contextlib.contextmanager
def _engine(
    assets: str, rows: int, workers: int, make: EngineMaker = RoboTwinEngine, reset: bool = True
) -> Iterator[RoboTwinEngine]:
    config = RoboTwinConfig(num_rows=rows, group_size=rows, num_workers=workers, assets=assets)
    engine = make(config)
    try:
        if reset:
            engine.reset(range(rows), [task_id_of(TASK)] * rows, [STATE] * rows)
        yield engine
    finally:
        engine.close()


@contextlib.contextmanager
def _direct(assets: str) -> Iterator[subprocess.Popen[str]]:
    """The runtime in a process of its own, after the start's image."""
    command = [find_python(None), "-I", robotwin_direct.__file__, assets, TASK, "demo_randomized", str(SEED)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=worker_environment(usable_cores()),
    ) as process:
        try:
            _read(process)
            yield process
        finally:
            process.kill()


def _tell(process: subprocess.Popen[str], chunk: NDArray[np.float64]) -> dict[str, Any]:
    assert process.stdin is not None
    process.stdin.write(json.dumps(chunk.tolist()) + "\n")
    process.stdin.flush()
    return _read(process)


def _read(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("the runtime called directly has ended; run benchmarks/robotwin_direct.py by hand")
    told: dict[str, Any] = json.loads(line)
    return told


def _chunks(joints: NDArray[np.float64], number: int) -> Iterator[NDArray[np.float64]]:
    """Chunks ``[CHUNK, 14]`` that swing every arm joint by 0.2 radians around where it starts."""
    phases = np.linspace(0.0, 2 * np.pi, CHUNK, endpoint=False)
    swing = 0.2 * np.sin(phases)[:, None] * np.cos(np.arange(14.0))
    swing[:, [6, 13]] = 0.0
    for _ in range(number):
        yield joints + swing


def _cpu_seconds(process: psutil.Process, without: psutil.Process | None = None) -> float:
    """CPU time of a process and its children, threads included."""
    everyone = [process, *process.children(recursive=True)]
    spent = [each.cpu_times() for each in everyone if each != without]
    return sum(times.user + times.system for times in spent)


if __name__ == "__main__":
    main()
