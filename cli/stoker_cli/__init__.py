"""The command `stoker`, and the embedded adapters that let one process be a whole platform."""
