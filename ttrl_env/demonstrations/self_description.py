"""Reads the attributes of a demonstration file: its task, image orientation and pairing of observations."""

from __future__ import annotations

import json
from pathlib import Path

import h5py

from ttrl_env import libero_tasks
from ttrl_env.demonstrations import foreign_files
from ttrl_env.demonstrations.foreign_files import refuse_attribute
from ttrl_env.demonstrations.layout import BEFORE_ACTION, Pairing
from ttrl_env.errors import ConfigError
from ttrl_env.libero_tasks import LiberoTask
from ttrl_env.libero_version import is_version


def instruction(path: Path, data: h5py.Group) -> str:
    """The task's instruction. Published files store it in quotes, as a string or as a list of characters."""
    if _is_regenerated(data):
        return _regenerated_task(path).instruction
    said = foreign_files.text(data, "problem_info")
    if said is None:
        raise ConfigError(f"data: {path} is not in LIBERO's layout (its 'data' has no 'problem_info')")
    try:
        words = "".join(json.loads(said)["language_instruction"]).strip('"')
    except (TypeError, ValueError, KeyError, RecursionError):
        words = ""
    if not words.strip():
        raise refuse_attribute(
            data, "problem_info", 'expected JSON with a "language_instruction"', repr(said[:80])
        )
    return words


def task_names(path: Path, data: h5py.Group) -> tuple[str | None, str | None]:
    """LIBERO's names of a file's suite and task; ``None`` for a name that the file does not contain."""
    if _is_regenerated(data):
        task = _regenerated_task(path)
        return task.suite, task.name
    bddl = Path(foreign_files.text(data, "bddl_file_name") or "")
    return bddl.parent.name or None, bddl.stem or None


def pairing(data: h5py.Group, asked: Pairing) -> Pairing:
    """Whether a file's observations come before or after their action; ``asked`` unless that is ``auto``."""
    if asked != "auto":
        return asked
    said = foreign_files.text(data, "observations")
    if said not in (None, BEFORE_ACTION):
        raise refuse_attribute(
            data, "observations", f"expected {BEFORE_ACTION!r} or no such attribute", f"{said!r}; set pairing"
        )
    return "before" if said or _is_regenerated(data) else "after"


def upright(data: h5py.Group) -> bool:
    """Whether a file's images have their top row first."""
    said = foreign_files.text(data, "macros_image_convention")
    if said not in (None, "opengl", "opencv"):
        raise refuse_attribute(
            data, "macros_image_convention", "expected 'opengl' (bottom row first) or 'opencv'", repr(said)
        )
    return said == "opencv"


def recorded_mujoco(data: h5py.Group) -> str | None:
    """MuJoCo's version in the recording settings; ``None`` for files that ``ttrl record`` did not write."""
    try:
        version = json.loads(foreign_files.text(data, "recording") or "")["mujoco"]
    except (TypeError, ValueError, KeyError, RecursionError):
        return None
    return version if is_version(version) else None


def _is_regenerated(data: h5py.Group) -> bool:
    """Whether a file has no attributes, as those of OpenVLA's ``regenerate_libero_dataset.py``."""
    return not foreign_files.has_attributes(data)


def _regenerated_task(path: Path) -> LiberoTask:
    """The task of a file without attributes, found by the file's name."""
    for task in libero_tasks.liberos_own_tasks():
        if path.name == f"{task.name}_demo.hdf5":
            return task
    example = libero_tasks.get_task("libero_object", 0).name
    raise ConfigError(
        f"data: {path} has no attributes, as files of OpenVLA's regenerate_libero_dataset.py, so only its "
        f"name can say the task. Give it back its name, e.g. {example}_demo.hdf5, or write "
        f"data.attrs['problem_info'] = '{{\"language_instruction\": ...}}' and "
        f"data.attrs['observations'] = {BEFORE_ACTION!r} into it"
    )
