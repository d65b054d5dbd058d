"""The runtime's tasks with what must differ when rows share a process and images are drawn only on demand."""

from __future__ import annotations

from functools import cache
from typing import Any

from .runtime import import_runtime


@cache
def played_task(task: str) -> type[Any]:
    """A subclass of the runtime's class of a task; physics, randomisation and success are the runtime's."""
    import sapien

    base: Any = import_runtime(task)

    class PlayedTask(base):  # type: ignore[misc]
        def setup_scene(self, **kwargs: Any) -> None:
            """Choose the shader before cameras are made: the runtime's takes minutes an image on a CPU."""
            super().setup_scene(**kwargs)
            if not can_trace_rays():
                sapien.render.set_camera_shader_dir("default")

        def get_cluttered_table(self, *_: Any, **__: Any) -> None:
            """Name the limits: the runtime shifts its defaults in place, so a second scene got others."""
            super().get_cluttered_table(xlim=[-0.59, 0.59], ylim=[-0.34, 0.34])

        def get_obs(self) -> None:
            """Draw nothing: the runtime asks for all cameras' images at success."""

    return PlayedTask


@cache
def can_trace_rays() -> bool:
    """Whether the device that draws is a GPU that traces rays, which the runtime's own shader needs."""
    import sapien

    device = sapien.render.RenderSystem().device
    if not device.is_cuda():
        return False
    summary = sapien.render.get_device_summary()
    described = [text for text in summary.split("GPU: ")[1:] if text.startswith(device.name)]
    return any(line.split() == ["rayTrace:", "1"] for text in described for line in text.splitlines())
