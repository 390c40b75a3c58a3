"""Whole-volume inference and the metric contract."""
