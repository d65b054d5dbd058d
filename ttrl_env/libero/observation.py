"""LIBERO's observations, whose values are computed and rendered when they are first read.

LIBERO renders every camera in every step. An :class:`Observation` keeps what its images are rendered from
instead, 50 to 100 kilobytes. So a policy that acts open loop pays only for the images that it looks at.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import ItemsView, Iterable, Sequence, ValuesView
from concurrent.futures import Future
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.native.records import Sample
from ttrl_env.libero.painting import start_image
from ttrl_env.libero.shared_task import SharedTask
from ttrl_env.libero.upstream import transform_utils

Values: TypeAlias = "OrderedDict[str, NDArray[Any]]"

_SUFFIX = "_image"

_UNREAD: Any = object()
"""The stored value of a key that has not been read."""


class Reading:
    """The values behind an observation, computed once, whichever copies of the observation ask for them."""

    def __init__(
        self,
        shared: SharedTask,
        sample: Sample,
        cameras: Sequence[str],
        image_size: int,
        was_reset: bool = True,
    ) -> None:
        """Keep a sample.

        Args:
            shared: the task.
            sample: what LIBERO's sensors would have measured; it must not change.
            cameras: the cameras of the observation, in order.
            image_size: height and width of the images, pixels.
            was_reset: whether the environment has been reset since it was built.
        """
        self._was_reset = was_reset
        self._shared = shared
        self._sample = sample
        self._image_size = image_size
        self._values: dict[str, NDArray[Any]] = {}
        self._images: dict[str, Future[NDArray[np.uint8]]] = {}
        self.batch: Batch | None = None
        """The readings of one step of a vector environment that this one belongs to."""
        self.keys = (*_ROBOT, *(camera + _SUFFIX for camera in cameras), *_object_keys(shared), *_STATES)

    def value(self, key: str) -> NDArray[Any]:
        """The value of one of :attr:`keys`."""
        if key not in self._values:
            if key.endswith(_SUFFIX):
                if self.batch is not None:
                    self.batch.about_to_read(key)
                self.start(key)
                self._values[key] = self._images.pop(key).result()
            elif key in _ROBOT:
                self._values.update(_robot_values(self._shared, self._sample))
            else:
                self._compute_states()
        return self._values[key]

    def start(self, key: str) -> None:
        """Start to render an image, unless that has been done."""
        if not self._was_reset:
            raise RuntimeError(
                f"{key}: until its first reset, LIBERO's environment shows helper sites in its images, which "
                f"ttrl_env.libero does not render; call reset() first"
            )
        if key in self.keys and key not in self._values and key not in self._images:
            camera = key.removesuffix(_SUFFIX)
            self._images[key] = start_image(self._shared.bundle, self._sample, camera, self._image_size)

    def _compute_states(self) -> None:
        robot = _robot_values(self._shared, self._sample)
        objects = _object_values(self._shared, self._sample)
        states = ("robot0_proprio-state", robot), ("object-state", objects)
        for values in (robot, objects):
            self._values.update({key: value for key, value in values.items() if key not in self._values})
        for name, values in states:
            self._values[name] = np.concatenate(list(values.values()), axis=-1)


class Batch:
    """The observations of one step of a vector environment.

    When two of them have been read, the user probably reads all: the others' images are then rendered by all
    threads at once instead of one after the other. After a step in which that was so, the first image that is
    read starts all of them.
    """

    def __init__(self, readings: Iterable[Reading], eager: set[str]) -> None:
        """Join readings.

        Args:
            readings: the readings of one step.
            eager: the keys that were read of several observations of the step before; updated here.
        """
        self.readings = list(readings)
        self._eager = eager
        self._read: dict[str, int] = {}
        for reading in self.readings:
            reading.batch = self

    def about_to_read(self, key: str) -> None:
        """Start to render an image for the other observations, if they will probably be read too."""
        self._read[key] = self._read.get(key, 0) + 1
        if self._read[key] == 1 and key not in self._eager:
            return
        if self._read[key] == 1:
            self._eager.discard(key)  # until a second observation is read
        elif self._read[key] == 2:
            self._eager.add(key)
        for reading in self.readings:
            reading.start(key)


class Observation(OrderedDict):  # type: ignore[type-arg]
    """One observation: LIBERO's keys in LIBERO's order, and values that are computed when they are read.

    It is an ``OrderedDict``, as LIBERO's is. Iterating over its keys computes nothing. ``dict(observation)``,
    ``items()``, ``values()``, deep copies and pickles contain every value; pickles and deep copies are plain
    ordered dictionaries. An image may be read at any time, also after later steps and after the environment
    was closed.

    Keys, with float64 arrays unless noted (``<object>``: each movable object, poses in the world frame):

    - ``robot0_joint_pos``, ``_cos``, ``_sin``, ``robot0_joint_vel``: ``[7]``, rad and rad/s
    - ``robot0_eef_pos`` ``[3]`` metres, ``robot0_eef_quat`` ``[4]`` xyzw
    - ``robot0_gripper_qpos``, ``robot0_gripper_qvel``: ``[2]``, metres and m/s
    - ``<camera>_image``: ``[height, width, 3]`` uint8, bottom row first
    - ``<object>_pos`` ``[3]`` metres, ``<object>_quat`` ``[4]`` xyzw
    - ``<object>_to_robot0_eef_pos`` ``[3]``, ``<object>_to_robot0_eef_quat`` ``[4]`` float32: seen from the
      end effector
    - ``robot0_proprio-state`` ``[39]`` and ``object-state`` ``[14 * num_objects]``: all of the above
    """

    def __init__(self, reading: Reading) -> None:
        super().__init__((key, _UNREAD) for key in reading.keys)
        self.reading = reading

    def __getitem__(self, key: str) -> Any:
        """The value of a key; computed now, if it has not been read."""
        value = super().__getitem__(key)
        if value is _UNREAD:
            value = self.reading.value(key)
            super().__setitem__(key, value)
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or ``default`` if there is no such key."""
        return self[key] if key in self else default  # noqa: SIM401  this is get itself

    def items(self) -> Any:
        """Pairs of keys and values; each value is computed when it is reached."""
        return ItemsView(self)

    def values(self) -> Any:
        """The values; each is computed when it is reached."""
        return ValuesView(self)

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a key and return its value."""
        if key in self:
            value = self[key]
            del self[key]
            return value
        return super().pop(key, *default)

    def popitem(self, last: bool = True) -> tuple[str, Any]:
        """Remove the last key, or the first, and return it with its value."""
        key = next(reversed(self) if last else iter(self))
        return key, self.pop(key)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of a key, which is added if it is missing."""
        if key not in self:
            self[key] = default
        return self[key]

    def copy(self) -> Observation:
        """A copy that shares the values; nothing is computed for it."""
        new = Observation.__new__(Observation)
        OrderedDict.__init__(new)
        new.reading = self.reading
        for key in self:
            OrderedDict.__setitem__(new, key, OrderedDict.__getitem__(self, key))
        return new

    __copy__ = copy

    def __eq__(self, other: object) -> bool:
        """As for ordered dictionaries, which cannot compare arrays of several numbers."""
        return self._computed() == (other._computed() if isinstance(other, Observation) else other)

    def __ne__(self, other: object) -> bool:
        """See :meth:`__eq__`."""
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def __or__(self, other: Any) -> Any:
        """The union with another dictionary."""
        return self._computed() | other

    def __ror__(self, other: Any) -> Any:
        """The union with another dictionary."""
        return other | self._computed()

    def __reduce__(self) -> Any:
        """Pickle as an ordered dictionary of the values."""
        return OrderedDict, (list(self.items()),)

    def __repr__(self) -> str:
        """As an ordered dictionary; this computes every value."""
        return repr(self._computed())

    def _computed(self) -> Values:
        return OrderedDict(self.items())


_ROBOT = (
    "robot0_joint_pos",
    "robot0_joint_pos_cos",
    "robot0_joint_pos_sin",
    "robot0_joint_vel",
    "robot0_eef_pos",
    "robot0_eef_quat",
    "robot0_gripper_qpos",
    "robot0_gripper_qvel",
)
_STATES = ("robot0_proprio-state", "object-state")


def _object_keys(shared: SharedTask) -> list[str]:
    return [key for name in shared.objects for key in _keys_of(name)]


def _keys_of(name: str) -> tuple[str, str, str, str]:
    return f"{name}_pos", f"{name}_quat", f"{name}_to_robot0_eef_pos", f"{name}_to_robot0_eef_quat"


def _robot_values(shared: SharedTask, sample: Sample) -> dict[str, NDArray[Any]]:
    arm = shared.arrays.arm
    joint_pos = sample.qpos[arm.qpos]
    return dict(
        zip(
            _ROBOT,
            (
                joint_pos,
                np.cos(joint_pos),
                np.sin(joint_pos),
                sample.qvel[arm.dofs],
                sample.eef_pos.copy(),
                sample.eef_quat.copy(),
                sample.gripper_qpos.copy(),
                sample.qvel[shared.gripper_dofs],
            ),
            strict=True,
        )
    )


def _object_values(shared: SharedTask, sample: Sample) -> dict[str, NDArray[Any]]:
    """Poses of the objects, in the world and seen from the end effector, by robosuite's own functions."""
    world_in_gripper = transform_utils.pose_inv(transform_utils.pose2mat((sample.eef_pos, sample.eef_quat)))
    values: dict[str, NDArray[Any]] = {}
    for name, body in shared.objects.items():
        pos = sample.xpos[body].copy()
        quat = transform_utils.convert_quat(sample.xquat[body], to="xyzw")
        seen = transform_utils.pose_in_A_to_pose_in_B(transform_utils.pose2mat((pos, quat)), world_in_gripper)
        values.update(zip(_keys_of(name), (pos, quat, *transform_utils.mat2pose(seen)), strict=True))
    return values
