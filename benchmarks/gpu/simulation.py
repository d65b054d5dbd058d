"""The simulated task of the items that need one, or why this machine has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.gpu.figures import NotPossibleError, Setting
from ttrl_env import libero_tasks
from ttrl_env.engines import opengl
from ttrl_env.errors import MissingDependencyError, NoCacheError, UnsupportedVersionError

if TYPE_CHECKING:
    from ttrl_env.engines.native.engine import NativeEngine
    from ttrl_env.engines.native.task.bundle import TaskBundle
    from ttrl_env.vector_env import TTRLVectorEnv

CHUNK = 8
"""Actions of a chunk, as OpenVLA-OFT's."""


def image_size(setting: Setting) -> int:
    """Pixels of a published checkpoint's images, or few."""
    return 32 if setting.dry_run else 256


def open_bundle(setting: Setting) -> TaskBundle:
    """The task, from the cache or compiled now.

    Raises:
        NotPossibleError: LIBERO, OpenGL or another dependency is missing.
    """
    try:
        opengl.require_gl()
        from ttrl_env.engines.native.task.cache import load_bundle

        return load_bundle(libero_tasks.get_task(setting.suite, setting.task_id))
    except (MissingDependencyError, UnsupportedVersionError, NoCacheError) as error:
        raise NotPossibleError(str(error)) from error


def make_engine(
    setting: Setting,
    num_rows: int,
    *,
    cameras: tuple[Any, ...] = ("agentview",),
    num_workers: int | None = None,
) -> NativeEngine:
    """An engine whose rows are at the task's first initial state.

    Raises:
        NotPossibleError: as :func:`open_bundle`.
    """
    open_bundle(setting)
    from ttrl_env.engines.interface import EngineConfig
    from ttrl_env.engines.native.engine import NativeEngine

    config = EngineConfig(
        suite=setting.suite,
        num_rows=num_rows,
        cameras=cameras,
        image_size=image_size(setting),
        num_workers=num_workers,
    )
    engine = NativeEngine(config)
    engine.reset(range(num_rows), [setting.task_id] * num_rows, [0] * num_rows)
    return engine


def make_environment(
    setting: Setting, num_rows: int, cameras: tuple[Any, ...], max_steps: int
) -> TTRLVectorEnv:
    """One group of ``num_rows``, as training plays it.

    Raises:
        NotPossibleError: as :func:`open_bundle`.
    """
    open_bundle(setting)
    from ttrl_env.vector_env import TTRLVectorEnv

    return TTRLVectorEnv(
        setting.suite,
        (setting.task_id,),
        n_samples=num_rows,
        engine="native",
        chunk_steps=CHUNK,
        max_steps=max_steps,
        image_size=image_size(setting),
        cameras=cameras,
        autoreset_mode="disabled",
    )


def is_software(renderer: str) -> bool:
    """Whether an OpenGL renderer of that name computes on the CPU.

    >>> is_software("llvmpipe (LLVM 19.1, 256 bits)"), is_software("NVIDIA H100 80GB HBM3/PCIe/SSE2")
    (True, False)
    """
    return any(name in renderer.lower() for name in ("llvmpipe", "softpipe", "swrast", "software"))
