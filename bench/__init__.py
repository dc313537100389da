"""Measurements (`make bench`). Prints figures; asserts none."""
