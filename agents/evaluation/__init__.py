"""Evaluating policies on held-out initial states, with reports and videos."""
