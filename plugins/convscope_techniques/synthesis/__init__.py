"""Techniques that make pictures by gradient ascent."""
