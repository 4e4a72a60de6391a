"""Images and other content, by digest."""
