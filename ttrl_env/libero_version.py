"""Tells published LIBERO apart from LIBERO on newer versions of MuJoCo, which simulate it differently.

Newer versions render six of LIBERO's textures darker, and objects on boxes settle differently. A policy
trained with one version can therefore fail with another, without any error. So the version of MuJoCo is
stored in bundles, checkpoints, demonstrations and reports. Reports call it the world.

Importing this module is cheap: it loads neither MuJoCo nor LIBERO.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
import warnings
from typing import Any, TypeGuard

PUBLISHED_MUJOCO = "3.3.2"
"""The last version that simulates published LIBERO; the default installation (docs/which-libero.md)."""

_NUMBERS = re.compile(r"\d+(\.\d+)*")


class LiberoVersionWarning(UserWarning):
    """Warns that something was made with a version of MuJoCo whose LIBERO differs from the installed one."""


@functools.cache
def installed_mujoco() -> str:
    """The installed version of MuJoCo, with which this process simulates."""
    return importlib.metadata.version("mujoco")


def is_published(mujoco: str) -> bool:
    """Whether LIBERO on this version of MuJoCo is the published one."""
    return release(mujoco) <= release(PUBLISHED_MUJOCO)


def same_libero(one: str, other: str) -> bool:
    """Whether LIBERO is the same on two versions of MuJoCo, up to rounding."""
    return one == other or (is_published(one) and is_published(other))


def stamp() -> dict[str, Any]:
    """Entry for reports: the version of ``mujoco``, and whether its LIBERO is the ``published`` one."""
    return {"mujoco": installed_mujoco(), "published": is_published(installed_mujoco())}


def describe(mujoco: str) -> str:
    """A phrase with a version of MuJoCo and whether its LIBERO is the published one."""
    if is_published(mujoco):
        return f"published LIBERO (MuJoCo {mujoco})"
    return f"MuJoCo {mujoco}, which is not published LIBERO (that is MuJoCo {PUBLISHED_MUJOCO})"


def install_command(mujoco: str = PUBLISHED_MUJOCO) -> str:
    """The command that installs a version of MuJoCo in place of the installed one.

    Since 4.0 the library is a separate distribution, whose files pip would mix with those of older versions.
    """
    install = f"pip install mujoco=={mujoco}"
    if max(release(mujoco), release(installed_mujoco())) < (4,):
        return install
    return f"pip uninstall -y mujoco mujoco-core mujoco-studio && {install}"


@functools.cache
def warn_unless_published() -> None:
    """Warn, once a process, if the installed version of MuJoCo does not simulate published LIBERO."""
    mujoco = installed_mujoco()
    if not is_published(mujoco):
        warnings.warn(
            f"This is {describe(mujoco)}. Its tasks look and settle otherwise, so published policies and "
            f"success rates do not hold here (docs/which-libero.md). For the published: {install_command()}",
            LiberoVersionWarning,
            stacklevel=3,
        )


def warn_of_another_version(what: str, mujoco: str | None) -> None:
    """Warn if ``what`` was made with a version of MuJoCo whose LIBERO is not the one installed.

    Args:
        what: names the file or checkpoint, as the beginning of a sentence.
        mujoco: the version stored in it; ``None``, as in files from other software, gives no warning.
    """
    installed = installed_mujoco()
    if mujoco is not None and not same_libero(mujoco, installed):
        warnings.warn(
            f"{what} is of MuJoCo {mujoco}, and MuJoCo {installed} is installed: LIBERO looks and moves "
            f"differently there, so expect other success rates (docs/which-libero.md). "
            f"For the version it comes from: {install_command(mujoco)}",
            LiberoVersionWarning,
            stacklevel=3,
        )


def is_version(value: object) -> TypeGuard[str]:
    """Whether a value read from a file is a version string."""
    return isinstance(value, str) and _NUMBERS.match(value) is not None


def release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version string, for comparisons. Raises ``ValueError`` if there are none."""
    found = _NUMBERS.match(version)
    if found is None:
        raise ValueError(f"mujoco: expected a version such as {PUBLISHED_MUJOCO!r}, got {version!r}")
    return tuple(map(int, found.group().split(".")))
