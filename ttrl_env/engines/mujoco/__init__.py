"""Access to MuJoCo's C structures and functions, and the differences between its versions."""
