"""``engine="ray"``: native engines in Ray actors, on any node of a cluster."""
