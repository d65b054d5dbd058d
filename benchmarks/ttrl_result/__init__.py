"""Measures how test-time RL and each of its parts improve a policy: ``python -m benchmarks.ttrl_result``."""
