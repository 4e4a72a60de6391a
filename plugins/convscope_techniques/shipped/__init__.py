"""Small models that come with the techniques, made by them; a README beside each says how."""
