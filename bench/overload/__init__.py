"""Overload, live: what `stoker serve` does with up to ten times the load that it can carry (`make bench-overload`)."""
