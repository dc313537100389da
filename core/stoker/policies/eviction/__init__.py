"""Which idle function leaves a device when memory is needed, and which leaves by itself."""
