"""Looks for faults in the environment, the data and the store; mends and removes nothing."""
