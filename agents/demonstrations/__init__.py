"""Demonstrations by scripted experts: in memory for a quick start, in LIBERO's HDF5 layout for the rest."""

from ttrl_env.agents.demonstrations.episodes import Chunks, Demonstration, Demonstrations
from ttrl_env.agents.demonstrations.recording import record_demonstrations

__all__ = ["Chunks", "Demonstration", "Demonstrations", "record_demonstrations"]
