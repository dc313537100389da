"""Which idle replica gives way when no device is free."""
