"""Makes the environment of RoboTwin's workers: another Python, with the runtime and what it needs."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ttrl_env.errors import (
    ConfigError,
    InstallationError,
    MissingDependencyError,
    NoCacheError,
    UnsupportedVersionError,
)
from ttrl_env.machine.cache_folder import cache_folder
from ttrl_env.machine.folder_lock import folder_lock

PYTHONS = ("3.11", "3.10")
"""Versions of Python that the runtime supports, the preferred one first."""

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
"""The packages, pinned."""

MARK = "ttrl-robotwin.json"
"""File in a finished environment that says what was installed, written last."""

Progress = Callable[[int, int], None]
"""Called with the number of packages that are there, and of all."""


def default_folder() -> Path:
    """Where the environment is unless another folder is named."""
    return cache_folder() / "robotwin" / "environment"


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / "bin" / "python"


def is_finished(folder: Path) -> bool:
    """Whether a folder holds an environment that :func:`install` has finished."""
    return (folder / MARK).is_file() and python_of(folder).exists()


def is_current(folder: Path) -> bool:
    """Whether it also has what this version of the package would install."""
    return is_finished(folder) and (folder / MARK).read_text("utf-8") == _mark()


def find_environment() -> str | None:
    """The interpreter of the environment in :func:`default_folder`, if there is one."""
    try:
        folder = default_folder()
    except NoCacheError:
        return None
    return str(python_of(folder)) if is_finished(folder) else None


def find_base_python(named: str | None = None) -> str:
    """An interpreter to make the environment with: ``named``, this one, or one on the ``PATH``.

    Raises:
        MissingDependencyError: there is none.
        UnsupportedVersionError: the named one is not Python 3.10 or 3.11.
    """
    if named is not None:
        path = shutil.which(os.path.expanduser(named))
        version = None if path is None else _version_of(path)
        if path is None or version is None:
            raise MissingDependencyError(
                f"python: expected a Python interpreter, got {named!r}, which does not run"
            )
        if version not in PYTHONS:
            raise UnsupportedVersionError(
                f"python: RoboTwin's runtime needs Python 3.10 or 3.11, {named} is {version}"
            )
        return path
    candidates = [sys.executable, *(shutil.which(f"python{version}") for version in PYTHONS)]
    for path in candidates:
        if path is not None and _version_of(path) in PYTHONS:
            return path
    raise MissingDependencyError(
        "python: RoboTwin's runtime needs Python 3.10 or 3.11, and neither is on the PATH. Install one "
        "(`apt install python3.11 python3.11-venv`, `uv python install 3.11`, or "
        "`conda create -n robotwin python=3.11`) and name it by python=PATH"
    )


def install(folder: Path, base_python: str, progress: Progress) -> None:
    """Make the environment in ``folder``, in place of an earlier one.

    It is made in a folder beside it and takes its place when it is complete. After an interruption the
    earlier one is unchanged; the next call begins anew, with what pip has kept of its downloads.

    Raises:
        ConfigError: the folder holds something else, or another process is at it.
        InstallationError: pip or venv failed; the message has the end of what it said.
    """
    _require_x86()
    check_folder(folder)
    draft, former = _beside(folder, "draft"), _beside(folder, "former")
    with folder_lock(folder.parent, "folder", f".{folder.name}.lock"):
        if former.exists() and not folder.exists():
            former.rename(folder)  # an earlier call was interrupted between two renames
        for leftover in (draft, former):
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            _make_environment(draft, base_python)
            _install_packages(draft, progress)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        _move_scripts(draft, folder)
        (draft / MARK).write_text(_mark(), encoding="utf-8")
        if folder.exists():
            folder.rename(former)
        draft.rename(folder)
        shutil.rmtree(former, ignore_errors=True)


def check_folder(folder: Path) -> None:
    """Raise :class:`ConfigError` if a folder holds what is not an environment of :func:`install`."""
    if folder.exists() and not (folder.is_dir() and (is_finished(folder) or not any(folder.iterdir()))):
        raise ConfigError(
            f"folder: expected a new folder, or an environment that `ttrl robotwin setup` has made, "
            f"got {folder}; name another one"
        )


def requirements() -> list[str]:
    """The lines of the requirements that name a package for the Python of the environment, or any."""
    lines = REQUIREMENTS.read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def _make_environment(draft: Path, base_python: str) -> None:
    try:
        _run([base_python, "-I", "-m", "venv", str(draft)])
    except InstallationError as error:
        raise InstallationError(
            f"{error}\nIf this Python has no venv, install it (`apt install python3.11-venv`), or name "
            f"another Python by python=PATH"
        ) from error


def _install_packages(draft: Path, progress: Progress) -> None:
    """Install the requirements; pip names each package as it gets to it."""
    command = [str(python_of(draft)), "-I", "-m", "pip", "install", "--disable-pip-version-check"]
    total = len({line.partition("==")[0] for line in requirements()})
    done = 0
    for line in _output([*command, "--no-deps", "--progress-bar", "off", "-r", str(REQUIREMENTS)]):
        if line.startswith("Collecting "):
            progress(min(done, total), total)
            done += 1
    torch = next(line for line in requirements() if line.startswith("torch=="))
    _run([*command, torch])  # the libraries that builds for GPUs cannot be imported without
    progress(total, total)


def _move_scripts(draft: Path, folder: Path) -> None:
    """Make the environment's scripts, which name their folder, fit the one it is moved to."""
    for script in (draft / "bin").iterdir():
        content = script.read_bytes() if script.is_file() and not script.is_symlink() else b""
        if os.fsencode(draft) in content and b"\0" not in content:
            script.write_bytes(content.replace(os.fsencode(draft), os.fsencode(folder)))


def _run(command: list[str]) -> None:
    for _ in _output(command):
        pass


def _output(command: list[str]) -> Iterator[str]:
    """The lines that a command prints; :class:`InstallationError` with the last ones if it fails."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")
    }
    last: list[str] = []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                last = [*last[-19:], line.rstrip()]
                yield line
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        said = "\n".join(last)
        raise InstallationError(f"{' '.join(command[:5])} ... failed ({process.returncode}):\n{said}")


def _version_of(python: str) -> str | None:
    """``"3.11"``, or ``None`` if it does not run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        ran = subprocess.run(
            [python, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout.strip()


def _require_x86() -> None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise UnsupportedVersionError(
            f"SAPIEN and RoboTwin's planner are built for Linux on x86-64, this is {sys.platform} on "
            f"{platform.machine()}"
        )


def _beside(folder: Path, name: str) -> Path:
    return folder.with_name(f".{folder.name}.{name}")


def _mark() -> str:
    return json.dumps({"requirements": hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()})
