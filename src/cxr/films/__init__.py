"""Films as pixels: PNG files, and the cache that models read."""
