"""Does test-time RL improve a policy, and which part of it does? ``python -m benchmarks.ttrl_result``."""
