"""Techniques that make textures, and pictures in the style of others."""
