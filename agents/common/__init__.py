"""Files of runs and checkpoints, and what a person sees while they are made."""
