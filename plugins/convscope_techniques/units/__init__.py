"""Techniques that show a unit by what an image set has for it."""
