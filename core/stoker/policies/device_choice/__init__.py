"""Which variant of a function a request goes to."""
