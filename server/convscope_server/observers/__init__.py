"""Plugins that observe runs, in a process of their own."""
