"""The gallery: every built-in technique on real photographs, with the real network; `make gallery` paints it."""
