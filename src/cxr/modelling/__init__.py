"""Stage 200: everything with tensors: networks, training, scores, heatmaps."""
