"""What is kept for how long, and what an operator does to the data directory."""
