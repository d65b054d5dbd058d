"""What simulates LIBERO: one interface, and two engines behind it."""
