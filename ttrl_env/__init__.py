"""Test-time reinforcement learning for vision-language-action policies on LIBERO.

Importing the package registers its Gymnasium ids; simulators are imported when an environment is made.
"""

from ttrl_env._version import __version__
from ttrl_env.registration import register_envs

__all__ = ["__version__", "register_envs"]

register_envs()
