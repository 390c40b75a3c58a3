"""The built-in losses of fine-tuning, one file each."""
