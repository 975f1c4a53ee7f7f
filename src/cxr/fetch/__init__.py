"""Stage 000: what exists where, and how it comes onto the disk whole."""
