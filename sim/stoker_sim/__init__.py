"""Discrete-event simulation of the very policies that run live; it knows no cluster, no clock and no network."""
