"""Test-time reinforcement learning for vision-language-action policies on LIBERO."""

from ttrl_env._version import __version__

__all__ = ["__version__"]
