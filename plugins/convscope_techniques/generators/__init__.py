"""Networks that turn codes into pictures: their architecture, their training, and the one that ships."""
