"""Playing groups of replicas with a policy, and the trajectories that come of it."""
