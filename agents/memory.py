"""Whether something fits into memory, asked before it is begun: see :mod:`ttrl_env.memory`."""

from ttrl_env.memory import require_memory

__all__ = ["require_memory"]
