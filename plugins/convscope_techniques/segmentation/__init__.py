"""Techniques that cut the object out of the picture."""
