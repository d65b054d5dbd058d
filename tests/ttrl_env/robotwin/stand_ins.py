"""Interpreters that only say what a test wants: shell scripts in place of Python, venv and pip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WHOLE: dict[str, Any] = {
    "python": "3.11.9",
    "versions": {"rlinf-robotwin-runtime": "0.1.3", "sapien": "3.0.3", "mplib": "0.2.1", "numpy": "1.26.4"},
    "import_error": None,
    "vulkan": {"device": "llvmpipe (LLVM 19)"},
}
"""What the probe says of an environment that lacks nothing."""


def interpreter(file: Path, says: dict[str, Any] | None = None, version: str = "3.11", pip: int = 0) -> Path:
    """A stand-in that makes environments of stand-ins.

    Args:
        file: where it is written.
        says: what the probe prints in it and in its environments.
        version: of the Python that it says to be.
        pip: the exit code of installing packages.
    """
    probe = json.dumps(WHOLE if says is None else says)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f"""#!/bin/sh
for last; do :; done
case "$*" in
    *"-m venv "*)
        mkdir -p "$last/bin"
        cp "$0" "$last/bin/python"
        echo "#!$last/bin/python" > "$last/bin/pip" ;;
    *"-m pip "*)
        printf 'Collecting numpy==1.26.4\\nCollecting sapien==3.0.3\\nthe end\\n'
        exit {pip} ;;
    *probe.py | *probe.py*vulkan) echo '{probe}' ;;
    *import*json*) echo '{{"python": "{version}.9"}}' ;;
    *) echo {version} ;;
esac
"""
    )
    file.chmod(0o755)
    return file
