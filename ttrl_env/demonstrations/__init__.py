"""Demonstrations by scripted experts, in the layout of LIBERO's HDF5 files."""
