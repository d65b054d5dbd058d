"""The reference engine: it runs unmodified LIBERO environments in worker processes."""
