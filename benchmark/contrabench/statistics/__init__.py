"""Paired statistics over patients; no torch."""
