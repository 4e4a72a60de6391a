"""Image sets, and the index of what a network makes of every picture of one."""
