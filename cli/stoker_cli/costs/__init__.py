"""Money in embedded mode: what was spent, kept over a restart, what plan() is shown of it, and `stoker cost`."""
