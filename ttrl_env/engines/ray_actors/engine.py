"""The engine of ``engine="ray"``: rows are dealt to Ray actors by group, and survive the actors' deaths.

The driver keeps each row's start and actions. When an actor has died, its rows are set up on another one and
brought to where they were by repeating their actions, which gives the same bits. The request that it died in
is then made again, so that callers notice nothing but the time.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttrl_env import libero_tasks
from ttrl_env.engines import observations
from ttrl_env.engines.interface import ChunkResult, EngineConfig, Observations, SimState
from ttrl_env.engines.ray_actors.actor import Actor, ActorDied, start_actors
from ttrl_env.engines.ray_actors.bundles import bring_tasks
from ttrl_env.engines.ray_actors.cluster import connect
from ttrl_env.engines.ray_actors.played import Played, requests
from ttrl_env.engines.ray_actors.simulator import EngineMaker, native_engine, neighbours
from ttrl_env.engines.requests import check_reset, check_started
from ttrl_env.errors import ClusterError, EnvironmentClosedError, EnvironmentDiedError, ForkedProcessError

REPLACEMENT_SECONDS = 5
"""Wait for a new actor's resources while others could take the rows: Ray has them at once, or not soon."""


class RayEngine:
    """Implements :class:`ttrl_env.engines.interface.SimulationEngine` with actors on any node of a cluster.

    ``config.num_workers`` actors (``None``: as many as the cluster has free CPUs for, at most one a group)
    share the groups. Each holds a native engine with ``config.ray.threads_per_actor`` threads. Results are
    those of the native engine, bit for bit, if the nodes' processors are of one kind.

    If an actor dies, another takes its place, or the others take its rows if there is no room for one. A row
    that a replay brings elsewhere, as another kind of processor may, ends with a failure that says so.

    Calls from several threads run one after the other. After an interrupted call its rows must be reset.
    """

    any_thread = True

    def __init__(self, config: EngineConfig, make_engine: EngineMaker = native_engine) -> None:
        """Connect to the cluster and start the actors; they open tasks when rows are first reset to them.

        Args:
            config: the settings; those of Ray are in ``config.ray``.
            make_engine: makes the engine in each actor, where it must be importable.

        Raises:
            ClusterError: the cluster cannot be reached, or has no room for the actors.
            EnvironmentDiedError: an actor's engine could not be made; the message has its traceback.
            MissingDependencyError: Ray or LIBERO is not installed.
            UnsupportedVersionError: MuJoCo, ttrl-env or a package beneath differs between a node and this
                process.
        """
        libero_tasks.require_libero()
        self.config = config
        self.observations = observations.allocate(config)
        self.restarts: NDArray[np.int64] = np.zeros(config.num_rows, dtype=np.int64)
        self.total_restarts = 0
        self._make_engine = make_engine
        self._played: dict[int, Played] = {}
        self._adrift: set[int] = set()  # rows whose simulation has died with its actor
        self._astray: dict[int, str] = {}  # rows that a replay did not bring back, and how one sees it
        self._closed = False
        self._turn = threading.RLock()
        self._pid = os.getpid()
        connect(config.ray.address)
        count = _num_actors(config)
        self._actors: list[Actor] = []
        self._when_dropped = weakref.finalize(self, _end, self._actors, self._pid)
        try:
            self._actors += start_actors(config, count, make_engine)
        except ActorDied as death:
            raise EnvironmentDiedError(f"engine='ray': an actor died while it started: {death}") from death
        self._home: dict[int, Actor] = {}
        self._deal(range(config.num_rows), self._actors)

    def reset(self, rows: Sequence[int], task_ids: Sequence[int], init_state_ids: Sequence[int]) -> None:
        """See :meth:`ttrl_env.engines.interface.SimulationEngine.reset`."""
        check_reset(self.config, rows, task_ids, init_state_ids)
        with self._changing(rows):
            self._ask("reset", rows, task_ids, init_state_ids)

    def step(
        self, rows: Sequence[int], actions: NDArray[np.float64], max_steps: Sequence[int]
    ) -> ChunkResult:
        """See :meth:`ttrl_env.engines.interface.SimulationEngine.step`."""
        actions = np.array(actions, dtype=np.float64)  # a copy: these are kept
        with self._changing(rows):
            check_started(rows, self._played)
            outcomes = self._ask("step", rows, actions, max_steps)
        return ChunkResult(
            executed_steps=np.array([executed for executed, _, _ in outcomes], dtype=np.int64),
            success=np.array([success for _, success, _ in outcomes], dtype=np.bool_),
            failure=[failure for _, _, failure in outcomes],
        )

    def state(self, row: int) -> SimState:
        """See :meth:`ttrl_env.engines.interface.SimulationEngine.state`."""
        with self._taking_turns():
            check_started([row], self._played)
            return self._ask("state", [row])[0]

    def close(self) -> None:
        """End the actors; safe to call twice, and in any thread.

        If another thread is in a call meanwhile, that call raises :class:`EnvironmentClosedError`.
        """
        if os.getpid() != self._pid:
            return  # after a fork: the actors are the parent's
        self._closed = True
        self._when_dropped()  # so that the call under way ends
        with self._turn:
            self._played.clear()

    @contextlib.contextmanager
    def _taking_turns(self) -> Iterator[None]:
        """Make other threads' calls wait; close the engine if one ends as simulations are beyond repair."""
        if os.getpid() != self._pid:
            raise ForkedProcessError(
                "the environment was made before this process was forked, and its connection to Ray does not "
                "exist here; make it in the process that uses it"
            )
        with self._turn:
            self._require_open()
            try:
                yield
            except EnvironmentDiedError:
                self._require_open()
                self.close()
                raise

    @contextlib.contextmanager
    def _changing(self, rows: Sequence[int]) -> Iterator[None]:
        """The same for calls that change ``rows``; after an error or interrupt they must be reset."""
        with self._taking_turns():
            try:
                yield
            except BaseException:
                for row in rows:
                    self._played.pop(row, None)
                    self._adrift.discard(row)
                raise

    def _require_open(self) -> None:
        if self._closed:
            raise EnvironmentClosedError(
                "the engine is closed (an error closes it too); make a new environment"
            )

    def _ask(self, method: str, rows: Sequence[int], *arguments: Sequence[Any] | NDArray[Any]) -> list[Any]:
        """Call a method of :class:`Simulator` in the actors of ``rows``; one answer a row, in their order.

        What an actor leaves unanswered because it dies is asked again, of whichever has its rows then.
        """
        request = _Request(method, rows, arguments)
        answers: dict[int, Any] = {}
        deaths = 0
        while len(answers) < len(rows):
            waiting = [place for place in range(len(rows)) if place not in answers]
            try:
                self._ask_once(request, waiting, answers)
            except ActorDied as death:
                self._require_open()  # another thread's close() ends actors too
                deaths += 1
                if deaths > self.config.ray.max_restarts:
                    raise EnvironmentDiedError(
                        self._too_often(request.part(waiting), deaths, death)
                    ) from death
        return [answers[place] for place in range(len(rows))]

    def _ask_once(self, request: _Request, waiting: Sequence[int], answers: dict[int, Any]) -> None:
        """Ask all actors of the rows at the places ``waiting``, and add what they answer to ``answers``.

        Raises :class:`ActorDied` if one has died, once the others have answered.
        """
        deaths: list[ActorDied] = []
        sent: list[tuple[list[int], _Sent]] = []
        for actor, places in self._by_actor(request.rows, waiting).items():
            with _collecting(deaths):
                sent.append((places, self._send(actor, request.part(places))))
        for places, each in sent:
            with _collecting(deaths):
                answers.update(zip(places, self._receive(each), strict=True))
        if deaths:
            raise deaths[-1]

    def _send(self, actor: Actor, request: _Request) -> _Sent:
        """Send an actor its part of a request, and before it what brings adrift rows back."""
        begun = request.rows if request.method == "reset" else ()
        returning = sorted(row for row in self._adrift if self._home[row] is actor and row not in begun)
        played = [self._played[row] for row in returning]
        bring_tasks(actor, self.config, [row.task_id for row in played])
        if begun:
            bring_tasks(actor, self.config, request.arguments[0])
        replay = actor.ask("replay", returning, *requests(played)) if returning else None
        return _Sent(
            actor, request, returning, replay, actor.ask(request.method, request.rows, *request.arguments)
        )

    def _receive(self, sent: _Sent) -> list[Any]:
        """Wait for an actor, and take its rows' observations; returns its answers."""
        rows = sent.request.rows
        if sent.returning:
            self._take_back(sent.returning, *sent.actor.answer(sent.replay))
        answers, seen = sent.actor.answer(sent.reference)
        if sent.request.method == "reset":
            self._record_reset(sent.request)
        if sent.request.method == "step":
            answers = self._record_step(sent.request, answers)
        self._publish(rows, seen)
        return answers

    def _record_reset(self, request: _Request) -> None:
        """Keep where rows start, as soon as they do: their actor may die while others still answer."""
        for row, task_id, init_state_id in zip(request.rows, *request.arguments, strict=True):
            self._played[row] = Played(task_id=task_id, init_state_id=init_state_id)
            self._adrift.discard(row)
            self._astray.pop(row, None)
            self.restarts[row] = 0

    def _record_step(self, request: _Request, outcomes: Sequence[Any]) -> list[Any]:
        """Keep what rows have executed; returns the outcomes, in which rows that went astray fail."""
        recorded = []
        for row, actions, outcome in zip(request.rows, request.arguments[0], outcomes, strict=True):
            if row in self._astray:
                outcome = (0, False, self._astray[row])
            self._played[row].chunks.append(actions[: outcome[0]])
            recorded.append(outcome)
        return recorded

    def _take_back(self, rows: Sequence[int], executed: Sequence[int], seen: Observations) -> None:
        """Record that a replay has set up rows again, and compare what they observe with what they did."""
        for k, row in enumerate(rows):
            steps = len(self._played[row].actions)
            same = [
                np.array_equal(seen[key][k], self.observations[key][row])
                for key in observations.proprioception(self.config)
            ]
            if executed[k] != steps or not all(same):
                self._astray[row] = (
                    f"the row's Ray actor died, and its {steps} actions led elsewhere on another node; use "
                    f"nodes with one kind of processor"
                )
            self.restarts[row] += 1
            self.total_restarts += 1
            self._adrift.discard(row)

    def _publish(self, rows: Sequence[int], seen: Observations) -> None:
        """Copy rows' observations out of shared memory; those of rows that went astray stay as they were."""
        kept = [k for k, row in enumerate(rows) if row not in self._astray]
        for key, array in seen.items():
            if len(kept) == len(rows):
                self.observations[key][neighbours(rows)] = array
            else:
                self.observations[key][[rows[k] for k in kept]] = array[kept]

    def _by_actor(self, rows: Sequence[int], waiting: Sequence[int]) -> dict[Actor, list[int]]:
        """The places ``waiting`` by the actors of their rows, after dead ones have been replaced."""
        for actor in dict.fromkeys(self._home[rows[place]] for place in waiting):
            if actor.is_dead:
                self._replace(actor)
        places: dict[Actor, list[int]] = {}
        for place in waiting:
            places.setdefault(self._home[rows[place]], []).append(place)
        return places

    def _replace(self, dead: Actor) -> None:
        """Give the rows of a dead actor to a new one, or to the others if the cluster has no room for it."""
        dead.stop()
        if dead in self._actors:
            self._actors.remove(dead)
        rows = [row for row, actor in self._home.items() if actor is dead]
        self._adrift.update(row for row in rows if row in self._played)
        others = [actor for actor in self._actors if not actor.is_dead]
        seconds = min(self.config.ray.wait_seconds, REPLACEMENT_SECONDS) if others else None
        try:
            heirs = start_actors(self.config, 1, self._make_engine, seconds)
        except ClusterError as error:
            if not others:
                raise EnvironmentDiedError(
                    f"engine='ray': the last actor has died, and there is no room for another: {error}"
                ) from error
            heirs = others
        else:
            self._actors += heirs
            if self._closed:  # by another thread, which did not see the new one
                _end(heirs, self._pid)
        self._require_open()
        self._deal(rows, heirs)

    def _deal(self, rows: Sequence[int], actors: Sequence[Actor]) -> None:
        """Divide rows among actors; neighbouring groups go to the same one, and groups are not torn."""
        groups = sorted({row // self.config.group_size for row in rows})
        actor_of = {group: actors[k * len(actors) // len(groups)] for k, group in enumerate(groups)}
        self._home.update({row: actor_of[row // self.config.group_size] for row in rows})

    def _too_often(self, request: _Request, deaths: int, last: ActorDied) -> str:
        played = ", ".join(
            f"row {row}: task {self._played[row].task_id}" if row in self._played else f"row {row}"
            for row in request.rows
        )
        return (
            f"engine='ray': actors died {deaths} times in a row during {request.method} of "
            f"{self.config.suite} ({played}; max_restarts={self.config.ray.max_restarts}). Where memory is "
            f"short, use more nodes or fewer rows. Ray's logs have what the actors wrote. The last: {last}"
        )


@dataclass(frozen=True)
class _Request:
    """A call of a method of :class:`Simulator`, with arguments for each row."""

    method: str
    rows: Sequence[int]
    arguments: Sequence[Sequence[Any] | NDArray[Any]]

    def part(self, places: Sequence[int]) -> _Request:
        """The same call for some of its rows."""
        arguments = [[each[place] for place in places] for each in self.arguments]
        return _Request(self.method, [self.rows[place] for place in places], arguments)


class _Sent(NamedTuple):
    """A request under way in an actor, and the replay before it."""

    actor: Actor
    request: _Request
    returning: list[int]
    """Rows that are replayed."""
    replay: Any
    """Ray's reference to the replay's answer."""
    reference: Any
    """Ray's reference to the request's answer."""


@contextlib.contextmanager
def _collecting(deaths: list[ActorDied]) -> Iterator[None]:
    """Context that keeps an actor's death for later."""
    try:
        yield
    except ActorDied as death:
        deaths.append(death)


def _num_actors(config: EngineConfig) -> int:
    """The number of actors to start; raises ``ValueError`` for more than there are groups."""
    import ray

    groups = config.num_rows // config.group_size
    if config.num_workers is None:
        free = ray.available_resources().get("CPU", 0.0)
        return min(groups, max(1, int(free // config.ray.resources["CPU"])))
    if not 1 <= config.num_workers <= groups:
        raise ValueError(
            f"num_workers: a Ray actor simulates whole groups, of which there are {groups}; expected 1 to "
            f"{groups}, got {config.num_workers}. Actors may have several threads (ray.threads_per_actor)"
        )
    return config.num_workers


def _end(actors: list[Actor], pid: int) -> None:
    """End an engine's actors, on ``close()`` or garbage collection."""
    if os.getpid() == pid:
        for actor in list(actors):
            actor.stop()
