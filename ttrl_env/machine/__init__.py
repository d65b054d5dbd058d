"""Access to the machine for all packages: cores, memory, atomic file writes, cached machine code."""
