"""A worker process; its parent starts it as :mod:`ttrl_env.robotwin.processes` says.

Arguments: ``CONNECTION_FD MEMORY_FD PARENT_PID FACTORY FOLDER``. The factory is the dotted name of what makes
a row's simulation, as ``worker.simulation:RoboTwinSimulation``. Its module may lie in a folder that is not on
the import path; else the last argument is empty.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from .interface import Simulation
from .loop import serve


def main(arguments: list[str]) -> None:
    """Serve until the parent hangs up or ends. The process then ends at once, whatever the runtime holds."""
    connection_fd, memory_fd, parent_pid, factory, folder = arguments
    sys.path += [folder] if folder else []
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)  # what a parent sends before it kills a worker that hangs
    threading.Thread(target=_end_with_parent, args=(int(parent_pid),), daemon=True).start()
    # The runtime is imported when the first row is reset, so that an error of it answers a request.
    serve(Connection(int(connection_fd)), int(memory_fd), lambda settings: _named(factory)(settings))
    sys.stdout.flush()
    os._exit(0)  # renderers and CUDA may raise or hang when the interpreter tears them down


def _named(factory: str) -> Callable[..., Simulation]:
    module, _, attribute = factory.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _end_with_parent(parent_pid: int) -> None:
    """End this process once its parent has ended, even during a simulation.

    A closed connection is not a reliable sign: processes that the parent forked may hold it open.
    """
    while os.getppid() == parent_pid:
        time.sleep(1.0)
    os._exit(1)
