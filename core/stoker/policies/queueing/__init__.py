"""Queueing policies of a device agent."""
