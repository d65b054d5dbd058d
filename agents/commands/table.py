"""The commands of ``ttrl``: for each its grammar, what it does, and the module that runs it.

This is all that the command line, its help and its completion know of a command. Nothing is imported before
a command is asked for.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of ``ttrl``."""

    purpose: str
    """What it does, in the overview of ``ttrl help``."""
    subjects: tuple[str, ...] = ()
    """Keys that its first arguments set if they stand alone."""
    arguments: str = ""
    """What follows its name in the overview."""
    options: str = ""
    """What its own help shows behind the arguments, before ``[--cfg] [key=value ...]``."""
    file: str | None = None
    """Its module in this folder, if that is not called as the command is."""


COMMANDS = {
    "train": Command(purpose="train a policy"),
    "preview": Command(
        purpose="before training: what a run can learn, and how long it will take",
        options="[output=FOLDER]",
    ),
    "eval": Command(
        purpose="evaluate a checkpoint, alone or against a baseline",
        subjects=("checkpoint",),
        arguments="CHECKPOINT",
        options="[baseline=PATH] [output=FOLDER]",
        file="evaluate",
    ),
    "record": Command(
        purpose="record demonstrations by scripted experts, as HDF5 files",
        subjects=("suite",),
        arguments="SUITE",
    ),
    "convert": Command(
        purpose="make a LeRobotDataset of demonstrations",
        subjects=("data", "output_dir"),
        arguments="DATA FOLDER",
        options="[repo_id=owner/name]",
    ),
    "pretrain": Command(
        purpose="clone a TinyVLA from demonstrations",
        subjects=("data",),
        arguments="data=[PATH,...]",
    ),
    "demo": Command(purpose="a policy learns a changed LIBERO task by itself, within ten minutes"),
    "tasks": Command(
        purpose="list the suites, or the tasks of one",
        subjects=("suite",),
        arguments="[SUITE]",
        options="[--json]",
    ),
    "doctor": Command(
        purpose="check this machine: GL, LIBERO, memory, GPU; or a policy checkpoint",
        subjects=("checkpoint",),
        arguments="[CHECKPOINT]",
        options="[world=[SUITE,...]]",
    ),
    "robotwin": Command(
        purpose="set up or check what plays RoboTwin, in another Python; or list its tasks",
        subjects=("action", "folder"),
        arguments="setup|check|tasks",
        options="[FOLDER] [--json]",
    ),
    "cache": Command(
        purpose="show, or delete, the native engine's compiled tasks",
        arguments="[clear=true]",
    ),
    "push": Command(
        purpose="upload a policy and its model card to the Hugging Face hub",
        subjects=("path", "repo"),
        arguments="PATH owner/name",
        options="[report=FOLDER] [private=true] [dry_run=false]",
    ),
    "completion": Command(
        purpose="print a script that completes commands, keys and values in the shell",
        subjects=("shell",),
        arguments="bash|zsh",
    ),
}


def usage(name: str) -> str:
    """The first line of a command's help."""
    command = COMMANDS[name]
    parts = ("ttrl", name, command.arguments, command.options, "[--cfg] [key=value ...]")
    return " ".join(part for part in parts if part)


def overview() -> str:
    """A line for each command."""
    shown = {f"ttrl {name} {command.arguments}": command.purpose for name, command in COMMANDS.items()}
    return "\n".join(f"  {line:<31} {purpose}" for line, purpose in shown.items())


def module_of(name: str) -> ModuleType:
    """A command's module: its ``run`` takes the arguments, its ``SCHEMA`` has its keys."""
    return importlib.import_module(f"{__package__}.{COMMANDS[name].file or name}")
