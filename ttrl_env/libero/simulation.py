"""One simulation of a task as LIBERO's environments run it: every reset places objects and fixtures anew.

All simulations of a task share one compiled model. The fixtures' poses are constants of the model, so each
simulation has a shallow copy of it with poses of its own: a few kilobytes.
"""

from __future__ import annotations

import ctypes
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.mujoco import libmujoco, mujoco_c
from ttrl_env.engines.mujoco.model_copies import ShallowCopy
from ttrl_env.engines.native import control_step
from ttrl_env.engines.native.control_step import DIVERGED
from ttrl_env.engines.native.records import Sample
from ttrl_env.engines.native.replica import make_memory, make_sample, make_views
from ttrl_env.engines.native.task.goals import goal_holds
from ttrl_env.libero.shared_task import SharedTask

_SAMPLING_PERIOD_S = 1.0 / 20
_TIMESTEP_S = 0.002


class Simulation:
    """The physics of one environment, reset and stepped exactly as robosuite and LIBERO do it.

    Not safe for use by two threads at once; different simulations of a task are.
    """

    def __init__(self, shared: SharedTask, renders: bool) -> None:
        """Allocate the simulation; call :meth:`rebuild` before anything else.

        Args:
            shared: the task.
            renders: whether LIBERO would make a renderer, which computes the kinematics once more.
        """
        self.shared = shared
        self._num_forwards_before_arm = 2 if renders else 1
        bundle = shared.bundle
        self._body_pos, self._body_quat = bundle.model.body_pos.copy(), bundle.model.body_quat.copy()
        excluded = np.sort(np.concatenate([bundle.model.exclude_signature, shared.quiet.signatures]))
        poses = {"body_pos": self._body_pos, "body_quat": self._body_quat}
        self._model = ShallowCopy(bundle.model, shared.layout, **poses)
        self._quiet_model = ShallowCopy(
            bundle.model, shared.layout, exclude_signature=excluded, nexclude=len(excluded), **poses
        )
        self.data = mujoco.MjData(bundle.model)
        self._views = make_views(self.data, self._model.address, self._quiet_model.address)
        self._memory = make_memory(bundle.model.nv, len(bundle.burner_alpha))
        self._sample = make_sample(self._views, len(bundle.burner_alpha))

    def rebuild(self) -> None:
        """Go back to a model that was just compiled, with the arm in its first posture.

        LIBERO draws noise for the posture, and scales it to zero.
        """
        shared, model, data = self.shared, self.shared.bundle.model, self.data
        for body, (pos, quat) in shared.scene.fixture_poses.items():
            self._body_pos[model.body(body).id] = pos
            self._body_quat[model.body(body).id] = quat
        mujoco.mj_resetData(model, data)
        for _ in range(self._num_forwards_before_arm):
            self.forward()
        arm, gripper = shared.arrays.arm.qpos, shared.arrays.sample.gripper_qpos
        data.qpos[arm] = shared.arm_init_qpos + np.random.randn(len(arm)) * 0.0
        self.forward()
        self.forward()
        data.qpos[gripper] = shared.gripper_init_qpos

    def articulate(self) -> None:
        """Draw the positions of drawers, doors and knobs that the task starts with."""
        model = self.shared.bundle.model
        for sampler, joints in self.shared.scene.articulations:
            position = sampler.sample()
            for joint in joints:
                self.data.qpos[model.joint(joint).qposadr[0]] = position

    def place_objects(self) -> None:
        """Draw the places of objects and fixtures; they are not computed further: see :meth:`forward`.

        Raises robosuite's ``RandomizationError`` if the objects overlap in every attempt.
        """
        model, data = self.shared.bundle.model, self.data
        self._call("mj_step1")
        for placed in self.shared.scene.place_objects(lambda site: data.site_xpos[model.site(site).id]):
            if placed.is_fixture:
                body = model.body(placed.obj.root_body).id
                self._body_pos[body] = placed.pos
                self._body_quat[body] = placed.quat
            else:
                start = model.joint(placed.obj.joints[-1]).qposadr[0]
                data.qpos[start : start + 7] = np.concatenate([placed.pos, placed.quat])

    def restart_memory(self) -> None:
        """Set what robosuite keeps beside the simulator: controller, burners, sampling clock."""
        bundle, memory = self.shared.bundle, self._memory
        for value, array in zip(bundle.arm_at_reset, memory.arm, strict=True):
            array[...] = value
        memory.burner_alpha[:] = bundle.burner_alpha
        memory.since_sample_s[0] = 0.0
        memory.sampled[0] = False

    def step(self, action: NDArray[np.float64]) -> tuple[bool, str | None]:
        """Run one control step of ``action`` ``[7]``.

        Returns whether the goal holds, and a description if the simulation has diverged.
        """
        status = control_step.run_chunk(
            self.shared.arrays,
            libmujoco.library(),
            self._views,
            self._memory,
            self._sample,
            action[None],
        )
        if status == DIVERGED:
            return self.goal_holds(), f"diverged at {self.data.time:.3f} s of simulated time"
        return status == control_step.SUCCESS, None

    def write(self, state: NDArray[np.float64]) -> None:
        """Overwrite time, qpos and qvel by ``state`` ``[1 + nq + nv]``; as in robosuite, more is cut off."""
        nq, nv = self.shared.bundle.model.nq, self.shared.bundle.model.nv
        self.data.time = state[0]
        self.data.qpos[:] = state[1 : 1 + nq]
        self.data.qvel[:] = state[1 + nq : 1 + nq + nv]

    def forward(self) -> None:
        """Compute everything that follows from the state."""
        self._call("mj_forward")

    def goal_holds(self) -> bool:
        """Whether the goal holds, by the contacts and poses that were computed last."""
        return bool(goal_holds(self.shared.arrays.goal, self._views, self.shared.arrays.contacts))

    def update_burners(self) -> None:
        """Make the burners' colours follow their knobs."""
        control_step.update_burners(self.shared.arrays.burners, self._views, self._memory)

    def take_sample(self) -> None:
        """Sample the current state for the next observation, as robosuite's forced update does."""
        memory = self._memory
        memory.since_sample_s[0] += _TIMESTEP_S
        control_step.take_sample(self.shared.arrays, self._views, memory, self._sample)
        memory.sampled[0] = True
        if memory.since_sample_s[0] >= _SAMPLING_PERIOD_S:
            memory.since_sample_s[0] %= _SAMPLING_PERIOD_S
            memory.sampled[0] = False

    def sample(self) -> Sample:
        """A copy of the latest sample."""
        copies = {name: array.copy() for name, array in self._sample._asdict().items()}
        return Sample(**copies)

    @property
    def arm(self) -> Any:
        """The state of the arm's controller (:class:`~ttrl_env.engines.native.records.ArmState`), live."""
        return self._memory.arm

    def _call(self, function: str) -> None:
        """Call one of MuJoCo's functions of a model and its data, with this simulation's fixtures."""
        address = ctypes.c_void_p(self.data._address)
        getattr(mujoco_c.functions(), function)(self._model, address)
