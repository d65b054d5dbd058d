"""Messages between a worker and its parent: JSON, because pickles do not pass between two NumPy versions.

The parent asks, and the worker answers with the request's number::

    {"number": 0, "method": "open", "settings": {...}, "num_bytes": 614400, "places": [...]}   (not answered)
    {"number": 1, "method": "reset", "jobs": [{"row": 0, "task": "stack_blocks_two", "seed": 100000}, ...]}
    {"number": 2, "method": "step", "jobs": [{"row": 0, "actions": [[...], ...], "max_steps": 25}, ...]}
    {"number": 3, "method": "state", "jobs": [{"row": 0}]}

    {"number": 1, "results": [{"instruction": "...", "digest": "..."}, {"unstable": "why"}]}
    {"number": 2, "results": [{"executed_steps": 25, "success": false, "failure": null}]}
    {"number": 3, "error": "while reading the state of row 0: ... traceback"}

Numbers keep every bit: Python writes the shortest decimals that read back as the same float. Observations
travel through the shared memory of :mod:`.layout`, not through messages.
"""

from __future__ import annotations

import json
from typing import Any


def encode(message: dict[str, Any]) -> bytes:
    """A message as the bytes that a connection carries."""
    return json.dumps(message, separators=(",", ":")).encode()


def decode(data: bytes) -> dict[str, Any]:
    """The message that :func:`encode` made bytes of."""
    return json.loads(data)
