"""Constructor arguments: which run natively, and which fall back to LIBERO's own class, with a warning."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ttrl_env.libero.episodes import arguments

pytestmark = pytest.mark.libero


@pytest.mark.parametrize(
    "changed",
    [
        {"camera_depths": True},
        {"camera_segmentations": "instance"},
        {"camera_names": ["agentview", "frontview"]},
        {"camera_heights": 128},  # unlike the width
        {"camera_heights": [64, 128], "camera_widths": [64, 128]},
        {"controller": "JOINT_POSITION"},
        {"robots": ["Sawyer"]},
        {"gripper_types": "RethinkGripper"},
        {"hard_reset": False},
        {"control_freq": 10},
        {"render_collision_mesh": True},
        {"table_full_size": (1.0, 1.0, 0.05)},
    ],
)
def test_arguments_that_are_not_covered_run_on_libero_s_own_class(
    changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ttrl_env.libero import FallbackWarning, OffScreenRenderEnv, upstream

    built: list[dict[str, Any]] = []
    monkeypatch.setattr(upstream.ControlEnv, "__init__", lambda self, **kwargs: built.append(kwargs))
    with pytest.warns(FallbackWarning, match=next(iter(changed))):
        OffScreenRenderEnv(**arguments(**changed))
    assert built == [arguments(**changed, has_renderer=False, has_offscreen_renderer=True)]


@pytest.mark.parametrize(
    "changed",
    [
        {"camera_names": ["robot0_eye_in_hand"]},
        {"camera_heights": [64, 64], "camera_widths": [64, 64]},
        {"robots": ("Panda",)},
        {"camera_depths": [False, False]},
        {"render_camera": "agentview"},
        {"ignore_done": True},
    ],
)
def test_arguments_that_are_covered_run_natively(changed: dict[str, Any]) -> None:
    from ttrl_env.libero.arguments import bind, not_covered

    assert not_covered(bind((), arguments(**changed))) == []


def test_an_unknown_gpu_is_ignored_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    from ttrl_env.libero import OffScreenRenderEnv
    from ttrl_env.libero.warnings import IgnoredArgumentWarning

    monkeypatch.delenv("MUJOCO_EGL_DEVICE_ID", raising=False)
    with pytest.warns(IgnoredArgumentWarning, match="MUJOCO_EGL_DEVICE_ID=1"):
        OffScreenRenderEnv(**arguments(render_gpu_device_id=1)).close()


def test_a_task_that_the_engine_does_not_cover_runs_on_libero_s_own_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ttrl_env.errors import UnsupportedTaskError
    from ttrl_env.libero import FallbackWarning, OffScreenRenderEnv, control_env, upstream

    def refuse(config: Any) -> Any:
        raise UnsupportedTaskError("a goal of its own")

    monkeypatch.setattr(control_env, "NativeDomain", refuse)
    monkeypatch.setattr(upstream.ControlEnv, "__init__", lambda self, **kwargs: None)
    with pytest.warns(FallbackWarning, match="bddl_file_name.*a goal of its own"):
        OffScreenRenderEnv(**arguments())


def test_a_missing_task_file_is_named() -> None:
    from ttrl_env.libero import OffScreenRenderEnv

    with pytest.raises(AssertionError, match=r"nowhere\.bddl does not exist"):
        OffScreenRenderEnv(bddl_file_name="/nowhere.bddl")
