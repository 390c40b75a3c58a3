"""What a pre-training has learned, and what a step of it costs."""
