"""The engine that simulates N replicas of a compiled task in the threads of one process."""
