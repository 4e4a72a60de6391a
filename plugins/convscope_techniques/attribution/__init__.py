"""Techniques that say which pixels a score depends on."""
