"""What is checked of a policy before hours are spent on it."""
