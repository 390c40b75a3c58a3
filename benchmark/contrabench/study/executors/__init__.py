"""Where the stages of a study are made: one file each, found by name through the registry."""
