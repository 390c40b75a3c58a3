"""What is run in which order, and the audit of it."""
