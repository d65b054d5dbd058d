"""One simulation of a task: its own ``mjData``, the task's shared model, and the state that LIBERO keeps."""

from __future__ import annotations

from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.interface import SETTLE_ACTION, SimState
from ttrl_env.engines.mujoco import libmujoco, versions
from ttrl_env.engines.mujoco.records import RENDERED
from ttrl_env.engines.mujoco.versions import DIVERGENCE_WARNINGS
from ttrl_env.engines.native import control_step
from ttrl_env.engines.native.control_step import DIVERGED, SUCCESS
from ttrl_env.engines.native.controller import make_arm_state
from ttrl_env.engines.native.records import Memory, Sample, Views
from ttrl_env.engines.native.task.bundle import TaskBundle
from ttrl_env.engines.observations import EEF_MAT

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


class Snapshot(NamedTuple):
    """A replica's complete state, and the sample behind its last observation."""

    integration_state: NDArray[np.float64]
    """MuJoCo's integration state: time, qpos, qvel, the solver's warm start and so on."""
    xpos: NDArray[np.float64]
    """``[nbody, 3]`` body positions, one substep older than the state."""
    xquat: NDArray[np.float64]
    """``[nbody, 4]`` body orientations, one substep older than the state."""
    memory: tuple[NDArray[Any], ...]
    sample: tuple[NDArray[Any], ...]


class Replica:
    """Steps one simulation exactly as LIBERO would; see :mod:`ttrl_env.engines.native.control_step`.

    Not safe for use by two threads at once; different replicas of a bundle are.
    """

    def __init__(self, bundle: TaskBundle) -> None:
        """Allocate the simulation; call :meth:`reset` or :meth:`restore` before the first step."""
        self.bundle = bundle
        self._data = mujoco.MjData(bundle.model)
        self._quiet_model = bundle.quiet_model  # keeps it alive: the views hold only its address
        self._views = make_views(self._data, bundle.model._address, self._quiet_model.address)
        num_burners = len(bundle.burner_alpha)
        self._memory = make_memory(bundle.model.nv, num_burners)
        self.sample = make_sample(self._views, num_burners)
        """The data from which the observation after the last reset or step is made."""
        joints = np.searchsorted(bundle.model.jnt_qposadr, bundle.arrays.sample.gripper_qpos)
        self._gripper_dofs = bundle.model.jnt_dofadr[joints]

    def reset(self, init_state: NDArray[np.float64], settle_steps: int) -> None:
        """Start an episode from ``init_state`` ``[1 + nq + nv]`` (time, qpos, qvel) and settle."""
        model, data, memory = self.bundle.model, self._data, self._memory
        if len(init_state) != 1 + model.nq + model.nv:
            raise ValueError(
                f"init_state: expected 1 + {model.nq} + {model.nv} numbers (time, qpos, qvel), "
                f"got {len(init_state)}; is the LIBERO installation of one version?"
            )
        mujoco.mj_resetData(model, data)
        mujoco.mj_setState(model, data, self.bundle.state_at_reset, _STATE)
        data.time = init_state[0]
        data.qpos[:] = init_state[1 : 1 + model.nq]
        data.qvel[:] = init_state[1 + model.nq :]
        mujoco.mj_forward(model, data)
        _copy(self.bundle.arm_at_reset, memory.arm)
        memory.burner_alpha[:] = self.bundle.burner_alpha
        control_step.update_burners(self.bundle.arrays.burners, self._views, memory)
        control_step.restart_clock(memory)
        control_step.take_sample(self.bundle.arrays, self._views, memory, self.sample)
        for _ in range(settle_steps):  # LIBERO ignores success while objects settle
            self._run(np.array([SETTLE_ACTION]))

    def step(self, actions: NDArray[np.float64]) -> tuple[int, bool, str | None]:
        """Execute ``actions`` ``[n, 7]`` until success or divergence.

        Returns the number of steps executed, whether the goal holds, and why the simulation diverged
        if it did; after divergence ``sample`` is meaningless.
        """
        try:
            status = self._run(actions)
        except np.linalg.LinAlgError as error:
            return int(self._memory.executed[0]), False, f"the controller failed on a diverged state: {error}"
        failure = self._describe_divergence() if status == DIVERGED else None
        return int(self._memory.executed[0]), status == SUCCESS, failure

    def snapshot(self) -> Snapshot:
        """A copy of the replica's current state."""
        state = np.empty(mujoco.mj_stateSize(self.bundle.model, _STATE))
        mujoco.mj_getState(self.bundle.model, self._data, state, _STATE)
        return Snapshot(
            integration_state=state,
            xpos=self._views.xpos.copy(),
            xquat=self._views.xquat.copy(),
            memory=tuple(array.copy() for array in _arrays(self._memory)),
            sample=tuple(array.copy() for array in self.sample),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a snapshot of this or another replica of the same bundle, bit for bit."""
        mujoco.mj_resetData(self.bundle.model, self._data)  # also clears warnings
        mujoco.mj_setState(self.bundle.model, self._data, snapshot.integration_state, _STATE)
        self._views.xpos[:] = snapshot.xpos
        self._views.xquat[:] = snapshot.xquat
        for array, value in zip(_arrays(self._memory), snapshot.memory, strict=True):
            array[...] = value
        _copy(snapshot.sample, self.sample)

    def state(self) -> SimState:
        """The physical state (copies)."""
        model, data = self.bundle.model, self._data
        return SimState(
            time=float(data.time),
            qpos=data.qpos.copy(),
            qvel=data.qvel.copy(),
            body_pos=model.body_pos.copy(),
            body_quat=model.body_quat.copy(),
            body_xpos=data.xpos.copy(),
            body_xquat=data.xquat.copy(),
            body_names=tuple(model.body(body).name for body in range(model.nbody)),
        )

    def robot_state(self) -> dict[str, NDArray[np.float64]]:
        """What ``EngineConfig.robot_state`` adds to the observation after the last reset or step."""
        arm, sample = self.bundle.arrays.arm, self.sample
        return {
            EEF_MAT: self._memory.arm.eef_mat,
            "robot0_gripper_qvel": sample.qvel[self._gripper_dofs],
            "robot0_joint_pos": sample.qpos[arm.qpos],
            "robot0_joint_vel": sample.qvel[arm.dofs],
        }

    def _run(self, actions: NDArray[np.float64]) -> int:
        return control_step.run_chunk(
            self.bundle.arrays,
            libmujoco.library(),
            self._views,
            self._memory,
            self.sample,
            actions,
        )

    def _describe_divergence(self) -> str:
        for warning, count in zip(DIVERGENCE_WARNINGS, self._views.warnings, strict=True):
            if count:
                return f"MuJoCo warning {warning}: the simulation diverged at {self._data.time:.3f} s"
        return f"qpos or qvel is not finite at {self._data.time:.3f} s"


def make_views(data: mujoco.MjData, model: int, quiet_model: int) -> Views:
    """The views of a simulation, given the addresses of its model and of its quiet model."""
    return Views(
        model=model,
        quiet_model=quiet_model,
        data=data._address,
        qpos=data.qpos,
        qvel=data.qvel,
        ctrl=data.ctrl,
        bias=data.qfrc_bias,
        inertia=versions.inertia(data),
        warnings=versions.divergence_warnings(data),
        **{name: getattr(data, name) for name in ("xpos", "xquat", *RENDERED)},
    )


def make_memory(nv: int, num_burners: int) -> Memory:
    """A memory of zeros for a model with ``nv`` degrees of freedom."""
    return Memory(
        arm=make_arm_state(),
        burner_alpha=np.zeros(num_burners, dtype=np.float32),
        since_sample_s=np.zeros(1),
        sampled=np.zeros(1, dtype=np.bool_),
        executed=np.zeros(1, dtype=np.int64),
        jacobians=np.zeros((2, 3, nv)),
    )


def make_sample(views: Views, num_burners: int) -> Sample:
    """A sample of zeros, with the shapes of ``views``."""
    copied = ("qpos", "qvel", "xpos", "xquat", *RENDERED)
    return Sample(
        eef_pos=np.zeros(3),
        eef_quat=np.zeros(4),
        gripper_qpos=np.zeros(2),
        burner_alpha=np.zeros(num_burners, dtype=np.float32),
        **{name: np.zeros_like(getattr(views, name)) for name in copied},
    )


def _arrays(memory: Memory) -> tuple[NDArray[Any], ...]:
    return (*memory.arm, *memory[1:])


def _copy(source: tuple[NDArray[Any], ...], target: tuple[NDArray[Any], ...]) -> None:
    for value, array in zip(source, target, strict=True):
        array[...] = value
