"""The card that PyTorch computes on, and the state it is found in."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

_ASK_TORCH = """
import json, platform, torch
found = {"torch": torch.__version__, "cuda": torch.version.cuda, "python": platform.python_version()}
if torch.cuda.is_available():
    found["card"] = torch.cuda.get_device_name()
print(json.dumps(found))
"""

_FIELDS = ("driver_version", "memory.total", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit")


def find_card() -> tuple[str | None, dict[str, Any]]:
    """The card's name, or ``None`` without one; and versions, driver and clocks as found.

    PyTorch is asked in a process of its own, because it would hold memory of the GPU as long as it lives.
    """
    answer = subprocess.run([sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, check=False)
    if answer.returncode:
        return None, {"error": answer.stderr.strip().splitlines()[-1:]}
    found = json.loads(answer.stdout.strip().splitlines()[-1])
    return found.pop("card", None), found | _driver()


def _driver() -> dict[str, str]:
    """What ``nvidia-smi`` says of the first card; nothing without it."""
    try:
        command = ["nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if answer.returncode or not answer.stdout.strip():
        return {}
    values = answer.stdout.splitlines()[0].split(",")
    return {field: value.strip() for field, value in zip(_FIELDS, values, strict=False)}
