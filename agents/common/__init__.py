"""Files of runs and checkpoints, progress on the terminal, and interrupts."""
