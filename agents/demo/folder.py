"""The demo's folder: going on in it, replacing a finished demo, and leaving alone what is not the demo's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.training.checkpoints import drop_later
from ttrl_env.agents.training.metrics import EVALUATIONS_FILE, METRICS_FILE, TENSORBOARD_FOLDER
from ttrl_env.errors import TTRLError
from ttrl_env.machine.whole_files import read_object

RECORD, REPORT = "demo.json", "report.json"
"""Files with the choices made before training, and with the results."""

VIDEO, CURVE = "before_and_after.mp4", "curve.png"

LOCK = ".demo.lock"
"""Lock file of the demo; training in the same folder uses another one."""

_FOLDERS = ("checkpoints", TENSORBOARD_FOLDER)

_FILES = (REPORT, VIDEO, CURVE, METRICS_FILE, EVALUATIONS_FILE)


def refuse_another_folder(output: Path) -> None:
    """Raise :class:`TTRLError` unless the folder is new, empty or of a demo."""
    if output.exists() and not output.is_dir():
        raise TTRLError(f"output_dir: expected a folder, got the file {output}")
    names = {path.name for path in output.iterdir()} if output.is_dir() else set()
    if names - {LOCK} and RECORD not in names:
        raise TTRLError(f"output_dir: {output} holds something else than a demo; choose another folder")


def open_folder(output: Path, settings: dict[str, Any], display: Display) -> None:
    """Continue an unfinished demo in the folder; replace a finished one, but no file of anybody else.

    Raises:
        TTRLError: the folder holds an unfinished demo with other settings.
        CheckpointError: the record of the demo cannot be read.
    """
    if not (output / RECORD).is_file():
        return
    if (output / REPORT).is_file():
        display.say(f"{output} holds a finished demo, which is replaced{_what_stays(output)}")
        _remove_demo(output)
        return
    found = read_object(output / RECORD, "remove the folder to begin anew").get("settings")
    found = found if isinstance(found, dict) else {}
    different = sorted(key for key in settings if found.get(key) != settings[key])
    if different:
        raise TTRLError(
            f"output_dir: {output} holds an unfinished demo with other values of {', '.join(different)}; "
            f"give the same to go on with it, delete it, or choose another folder"
        )


def _what_stays(output: Path) -> str:
    """The files of somebody else, in words; an evaluation of the former policy is one of them."""
    own = {RECORD, *_FILES, *_FOLDERS}
    others = sorted(path.name for path in output.iterdir() if path.name not in own)
    visible = [name for name in others if not name.startswith(".")]
    return f"; {', '.join(visible)} there stays as it is" if visible else ""


def _remove_demo(output: Path) -> None:
    """Remove the files that a demo writes. Links are not followed; ``demo.json`` is removed last."""
    for name in _FOLDERS:
        if (output / name).is_symlink():
            (output / name).unlink()
    drop_later(output, -1)
    events = (output / TENSORBOARD_FOLDER).glob("events.out.tfevents.*")
    for file in (*events, *(output / name for name in _FILES), output / RECORD):
        file.unlink(missing_ok=True)
