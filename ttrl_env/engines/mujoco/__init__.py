"""Everything that knows MuJoCo's C structures, functions and versions."""
