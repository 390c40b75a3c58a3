"""Batched augmentation on the device, with its geometry."""
