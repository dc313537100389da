"""The discrete-event engine: the policies of `stoker` on simulated devices."""
