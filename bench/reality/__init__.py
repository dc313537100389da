"""Simulation against reality: the same arrivals played to a real `stoker serve` and to the simulator."""
