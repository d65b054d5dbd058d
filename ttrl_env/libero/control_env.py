"""LIBERO's ``ControlEnv`` and ``OffScreenRenderEnv`` on the native engine."""

from __future__ import annotations

import os
from concurrent.futures import Future
from typing import Any

from ttrl_env.errors import UnsupportedTaskError
from ttrl_env.libero import upstream
from ttrl_env.libero.arguments import bind, domain_config, not_covered, warn_of_ignored
from ttrl_env.libero.domain import NativeDomain, Step
from ttrl_env.libero.fallback import announce_fallback
from ttrl_env.libero_version import warn_unless_published


class ControlEnv(upstream.ControlEnv):  # type: ignore[misc]
    """LIBERO's ``ControlEnv`` with the native engine behind it.

    Methods and attributes are LIBERO's: ``seed``, ``reset``, ``set_init_state``, ``step``, ``check_success``,
    ``get_sim_state``, ``close``, ``language_instruction``, ``obj_of_interest`` and so on. The class derives
    from LIBERO's, so ``isinstance`` holds. Observations are
    :class:`~ttrl_env.libero.observation.Observation`.

    Arguments that the native engine does not cover make a
    :class:`~ttrl_env.libero.warnings.FallbackWarning`, and LIBERO's own
    environment runs: other robots, controllers, cameras or image shapes, depth, segmentation, ``hard_reset=
    False``, and tasks with objects or goals that are not LIBERO's.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Build the environment; the arguments and their defaults are LIBERO's."""
        arguments = bind(args, kwargs)
        bddl_file = arguments["bddl_file_name"]
        assert os.path.exists(bddl_file), f"[error] {bddl_file} does not exist!"
        reasons = not_covered(arguments)
        if not reasons:
            try:
                self._open(arguments)
                return
            except UnsupportedTaskError as error:
                reasons = [f"bddl_file_name={str(bddl_file)!r} ({error})"]
        announce_fallback(reasons, stacklevel=2)
        super().__init__(*args, **kwargs)

    @property
    def is_native(self) -> bool:
        """Whether the native engine runs, rather than LIBERO's own environment."""
        return isinstance(self.env, NativeDomain)

    def reset(self) -> Any:
        """Place objects and fixtures anew; tries again as long as the objects overlap in every attempt.

        Other errors are raised, where LIBERO would swallow them and try for ever.
        """
        while True:
            try:
                return self.env.reset()
            except upstream.RandomizationError:
                continue

    def start_step(self, action: Any) -> Future[Step]:
        """Begin a step in another thread; the future gives what :meth:`step` returns."""
        return self.env.start_step(action)

    def _open(self, arguments: dict[str, Any]) -> None:
        warn_unless_published()
        warn_of_ignored(arguments)
        problem_info = upstream.bddl_utils.get_problem_info(arguments["bddl_file_name"])
        self.env: Any = NativeDomain(domain_config(arguments))
        self.problem_name = problem_info["problem_name"]
        self.domain_name = problem_info["domain_name"]
        self.language_instruction = problem_info["language_instruction"]


class OffScreenRenderEnv(ControlEnv, upstream.OffScreenRenderEnv):  # type: ignore[misc]
    """LIBERO's ``OffScreenRenderEnv`` with the native engine behind it; see :class:`ControlEnv`."""

    def __init__(self, **kwargs: Any) -> None:
        """Build the environment; the arguments and their defaults are those of :class:`ControlEnv`."""
        super().__init__(**{**kwargs, "has_renderer": False, "has_offscreen_renderer": True})
