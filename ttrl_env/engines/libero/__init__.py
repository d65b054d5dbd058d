"""The engine that runs unmodified LIBERO environments in processes: the reference."""
