"""Everything behind the port. Its front end (`api`, `runs`, `engine`) never imports torch."""
