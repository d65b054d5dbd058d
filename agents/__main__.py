"""``python -m ttrl_env.agents train ...``: the ``ttrl`` command, for ``torchrun -m``."""

from __future__ import annotations

import sys

from ttrl_env.agents.cli import main

if __name__ == "__main__":
    sys.exit(main())
