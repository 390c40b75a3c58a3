"""From volumes on disk to slices on the training device."""
