"""Techniques that lay an image set out by what a network makes of it."""
