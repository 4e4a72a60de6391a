"""Who may do what: principals, what they show to be let in, and the log of every decision. Imports no torch."""
