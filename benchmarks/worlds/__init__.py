"""How LIBERO's tasks differ between versions of MuJoCo: ``python -m benchmarks.worlds``."""
