"""Whether an installed distribution works: run by the workflows with its own Python, without pytest.

No extras are needed: nothing here opens a simulator.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import sysconfig
from pathlib import Path

import gymnasium
import torch

import ttrl_env
from ttrl_env.agents import TrainConfig, load_config, load_policy
from ttrl_env.agents.commands.table import COMMANDS
from ttrl_env.kernels import sample_tokens


def main() -> None:
    """Use every part that the distribution must carry: modules, presets, a policy, the command."""
    package = Path(ttrl_env.__file__).parent
    assert package.parent == Path(sysconfig.get_path("purelib")), f"imported from {package}, not installed"
    assert importlib.metadata.version("ttrl-env") == ttrl_env.__version__
    assert "ttrl_env/LiberoSpatial-v0" in gymnasium.registry
    assert load_config(TrainConfig, ["preset=tiny-cpu"]).preset == "tiny-cpu"
    assert type(load_policy("tiny-vla-libero-object")).__name__ == "TinyVLA"
    samples = sample_tokens(torch.zeros(2, 256), torch.ones(2), torch.arange(2))
    assert samples.tokens.shape == (2,)
    for name in COMMANDS:
        command = [str(Path(sys.executable).with_name("ttrl")), name, "--help"]
        assert name in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    print(f"ttrl-env {ttrl_env.__version__} works on Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
