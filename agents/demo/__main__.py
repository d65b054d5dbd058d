"""``python -m ttrl_env.agents.demo``."""

from __future__ import annotations

import sys

from ttrl_env.agents.demo.run import main

if __name__ == "__main__":
    sys.exit(main())
