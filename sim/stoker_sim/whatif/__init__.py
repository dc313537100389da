"""What would have been: the load of an event log, simulated with another policy, other devices or other products."""
