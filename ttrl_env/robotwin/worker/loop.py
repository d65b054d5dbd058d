"""A worker's loop: read a request, do it, answer; until the parent hangs up."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from .interface import Settings, Simulation
from .layout import attach
from .protocol import decode, encode
from .rows import Rows


def serve(connection: Connection, memory_fd: int, make_simulation: Callable[[Settings], Simulation]) -> None:
    """Answer requests until the parent closes the connection.

    Args:
        connection: carries the messages of :mod:`.protocol`.
        memory_fd: descriptor of the memory of the observations.
        make_simulation: makes a row's simulation, at the row's first reset.
    """
    opening = decode(connection.recv_bytes())
    rows = Rows(
        make_simulation,
        _settings(opening["settings"]),
        attach(memory_fd, opening["num_bytes"], opening["places"]),
    )
    methods: dict[str, Callable[..., dict[str, Any]]] = {
        "reset": rows.reset,
        "step": rows.step,
        "state": rows.state,
    }
    while True:
        try:
            request = decode(connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            break
        answer: dict[str, Any] = {"number": request["number"]}
        try:
            answer["results"] = [methods[request["method"]](**job) for job in request["jobs"]]
        except Exception:  # noqa: BLE001  reported in full to the parent, which raises it
            answer["error"] = f"while {rows.doing}:\n{traceback.format_exc()}"
        try:
            connection.send_bytes(encode(answer))
        except (BrokenPipeError, ConnectionResetError):
            break
    rows.close()


def _settings(values: dict[str, Any]) -> Settings:
    return Settings(**{**values, "cameras": tuple(values["cameras"])})
