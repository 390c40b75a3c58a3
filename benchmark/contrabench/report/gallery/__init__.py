"""Pictures of the same few patients for every method: reference and prediction on the image."""
