"""An item in a process of its own: its time limit, its figures, the end of what it printed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.gpu.catalogue import Item
from benchmarks.gpu.figures import Setting

ROOT = Path(__file__).parents[2]
TAIL_LINES = 40
"""Of the output of an item that failed."""
SECONDS_TO_END = 10.0
"""Between asking a process to end and killing it."""


def run(item: Item, setting: Setting, limit_s: float) -> dict[str, Any]:
    """Measure one item; returns its entry of the results, as :func:`run_command` does."""
    fields = json.dumps({**asdict(setting), "results": str(setting.results)})
    module = [sys.executable, "-m", "benchmarks.gpu.measure", item.name]
    return run_command(lambda output: [*module, str(output), fields], limit_s)


def run_command(command: Callable[[Path], list[str]], limit_s: float) -> dict[str, Any]:
    """Run a process that writes figures to the file it is given, whatever becomes of it.

    ``status`` is "done", "not possible" (``reason`` says why), "failed" or "timed out" (``reason`` and
    ``tail``). Figures are those that it had by then.
    """
    with tempfile.TemporaryDirectory() as folder:
        log, output = Path(folder, "log"), Path(folder, "figures.json")
        started = time.monotonic()
        with log.open("wb") as file, _process(command(output), file) as process:
            try:
                code: int | None = process.wait(limit_s)
            except subprocess.TimeoutExpired:
                code = None
        entry = {
            "seconds": round(time.monotonic() - started, 1),
            "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        return entry | _outcome(code, limit_s, _read(output), lines[-TAIL_LINES:])


@contextlib.contextmanager
def _process(command: list[str], log: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process and all that it starts, which are ended with the context."""
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process's whole group: first by SIGTERM, then by SIGKILL."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_END)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read(output: Path) -> dict[str, Any]:
    if not output.is_file():
        return {"figures": [], "details": {}, "not_possible": ""}
    return json.loads(output.read_text(encoding="utf-8"))


def _outcome(code: int | None, limit_s: float, got: dict[str, Any], tail: list[str]) -> dict[str, Any]:
    kept = {"figures": got["figures"], "details": got["details"]}
    if code == 0 and got["not_possible"]:
        return {"status": "not possible", "reason": got["not_possible"], **kept}
    if code == 0:
        return {"status": "done", **kept}
    if code is None:
        reason = f"ended after its limit of {limit_s / 60:.1f} minutes"
        return {"status": "timed out", "reason": reason, "tail": tail, **kept}
    return {"status": "failed", "reason": _why(code, tail), "tail": tail, **kept}


def _why(code: int, tail: list[str]) -> str:
    """The last line that a failed process printed, or the signal that killed it."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return next((line for line in reversed(tail) if line.strip()), f"exit code {code}")
