"""Models: where they come from (`sources`), what can be asked for (`registry`), what is on a device (`cache`)."""
