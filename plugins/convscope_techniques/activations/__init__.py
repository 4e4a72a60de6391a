"""Techniques that show what each layer answers."""
