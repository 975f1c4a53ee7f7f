"""Stage 300: what scores are worth. Frames in, frames out; no film, no network."""
