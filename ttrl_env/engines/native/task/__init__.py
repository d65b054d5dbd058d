"""A LIBERO task compiled once and kept in a cache: its model, textures, goal and contacts."""
