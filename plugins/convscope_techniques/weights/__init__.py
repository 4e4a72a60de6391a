"""Techniques that show what was learned, without a picture."""
