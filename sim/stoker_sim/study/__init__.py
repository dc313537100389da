"""The protocol by which a policy of our own is judged (DESIGN 7): families, halves, settings, one test."""
