"""Before training: what test-time RL can do with a policy on its tasks."""
