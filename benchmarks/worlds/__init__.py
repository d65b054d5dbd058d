"""Which tasks of LIBERO differ between versions of MuJoCo, and by how much: ``python -m benchmarks.worlds``."""
