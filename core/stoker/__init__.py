"""The pure domain of Stoker: model, policies, decisions, prediction, wire formats.

Nothing here does I/O, reads a clock or draws a random number; time is an argument, in integer
microseconds. The same code runs live and in simulation.
"""
