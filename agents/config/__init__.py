"""Configuration: schema, values from the command line, presets, published names, checks before a run."""
