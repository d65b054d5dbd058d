"""LIBERO's own modules, imported safely, and its own classes whatever :func:`install` has put in their place.

Importing this module imports MuJoCo, robosuite and LIBERO's environments, which takes seconds.
"""

from __future__ import annotations

from ttrl_env import libero_tasks
from ttrl_env.engines import opengl
from ttrl_env.engines.libero.robosuite_import import import_robosuite

libero_tasks.require_libero()
opengl.load_triton_first()
import_robosuite()  # must come before MuJoCo and LIBERO's environments are imported

import libero.libero.envs as envs  # noqa: E402
from libero.libero.envs import bddl_utils, env_wrapper, venv  # noqa: E402
from robosuite.utils import transform_utils  # noqa: E402
from robosuite.utils.binding_utils import MjSimState  # noqa: E402
from robosuite.utils.errors import RandomizationError  # noqa: E402

# the engine that compiles tasks keeps LIBERO's own class if it is imported before install()
from ttrl_env.engines.libero import environment as _environment  # noqa: E402, F401

ControlEnv = env_wrapper.ControlEnv
OffScreenRenderEnv = env_wrapper.OffScreenRenderEnv
SubprocVectorEnv = venv.SubprocVectorEnv
DummyVectorEnv = venv.DummyVectorEnv

__all__ = [
    "ControlEnv",
    "DummyVectorEnv",
    "MjSimState",
    "OffScreenRenderEnv",
    "RandomizationError",
    "SubprocVectorEnv",
    "bddl_utils",
    "env_wrapper",
    "envs",
    "transform_utils",
    "venv",
]
