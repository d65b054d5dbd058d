"""Access to the machine for all packages: cores, memory, whole files, the cache folder, compiled code."""
