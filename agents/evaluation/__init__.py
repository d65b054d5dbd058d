"""Evaluation of policies on held-out initial states, with reports and videos."""
