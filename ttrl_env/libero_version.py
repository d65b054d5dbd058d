"""Which LIBERO this is: the published one, or another that a newer MuJoCo makes of it.

Newer versions render six of LIBERO's textures darker and let things rest otherwise on boxes. A policy that
has learnt in one version fails in another without an error. So bundles, checkpoints, demonstrations and
reports carry MuJoCo's version.

Light to import: neither MuJoCo nor LIBERO is needed to say which version is installed.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
import warnings
from typing import Any, TypeGuard

PUBLISHED_MUJOCO = "3.3.2"
"""The last version whose LIBERO is the published one; what an install gets (docs/which-libero.md)."""

_NUMBERS = re.compile(r"\d+(\.\d+)*")


class WorldWarning(UserWarning):
    """Something comes from another world than the one that is simulated."""


@functools.cache
def installed_mujoco() -> str:
    """The version of MuJoCo that an environment of this process would be simulated by."""
    return importlib.metadata.version("mujoco")


def is_published(mujoco: str) -> bool:
    """Whether LIBERO on this version of MuJoCo is the published one."""
    return release(mujoco) <= release(PUBLISHED_MUJOCO)


def same_world(one: str, other: str) -> bool:
    """Whether LIBERO is the same on two versions of MuJoCo, up to rounding."""
    return one == other or (is_published(one) and is_published(other))


def stamp() -> dict[str, Any]:
    """The world of this process as reports carry it: ``mujoco``'s version and whether it is ``published``."""
    return {"mujoco": installed_mujoco(), "published": is_published(installed_mujoco())}


def describe(mujoco: str) -> str:
    """A version of MuJoCo and which LIBERO that is."""
    if is_published(mujoco):
        return f"published LIBERO (MuJoCo {mujoco})"
    return f"MuJoCo {mujoco}, which is not published LIBERO (that is MuJoCo {PUBLISHED_MUJOCO})"


def install_command(mujoco: str = PUBLISHED_MUJOCO) -> str:
    """How to install a version of MuJoCo in place of the one that is there.

    Since 4.0 the library is in a distribution of its own, which pip would mix with older files.
    """
    install = f"pip install mujoco=={mujoco}"
    if max(release(mujoco), release(installed_mujoco())) < (4,):
        return install
    return f"pip uninstall -y mujoco mujoco-core mujoco-studio && {install}"


@functools.cache
def warn_unless_published() -> None:
    """Warn, once a process, that what is about to be simulated is not published LIBERO."""
    mujoco = installed_mujoco()
    if not is_published(mujoco):
        warnings.warn(
            f"This is {describe(mujoco)}. Its tasks look and settle otherwise, so published policies and "
            f"success rates do not hold here (docs/which-libero.md). For the published: {install_command()}",
            WorldWarning,
            stacklevel=3,
        )


def warn_of_another_world(what: str, mujoco: str | None) -> None:
    """Warn if ``what`` was made with a version of MuJoCo whose LIBERO is not the one installed.

    Args:
        what: names the file or checkpoint, as the beginning of a sentence.
        mujoco: the version that it carries; ``None``, as others' files have it, says nothing.
    """
    installed = installed_mujoco()
    if mujoco is not None and not same_world(mujoco, installed):
        warnings.warn(
            f"{what} is of MuJoCo {mujoco}, and MuJoCo {installed} is installed: LIBERO looks and moves "
            f"differently there, so expect other success rates (docs/which-libero.md). "
            f"For the world it comes from: {install_command(mujoco)}",
            WorldWarning,
            stacklevel=3,
        )


def is_version(value: object) -> TypeGuard[str]:
    """Whether something read from a file is a version at all."""
    return isinstance(value, str) and _NUMBERS.match(value) is not None


def release(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with, for comparing it."""
    found = _NUMBERS.match(version)
    if found is None:
        raise ValueError(f"mujoco: expected a version such as {PUBLISHED_MUJOCO!r}, got {version!r}")
    return tuple(map(int, found.group().split(".")))
