"""Generators of workloads whose arrivals follow a law: for checks against theory, and for what no trace shows."""
