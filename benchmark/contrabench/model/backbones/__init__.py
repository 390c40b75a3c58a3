"""The backbones that come with the engine: one file each, found by name through the registry."""
