"""Content-addressed stages and per-case result rows."""
