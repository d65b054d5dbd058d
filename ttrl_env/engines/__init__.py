"""Simulation engines for LIBERO: one interface and two implementations."""
