"""Checks of a policy checkpoint before a long training run (``ttrl doctor CHECKPOINT``)."""
