"""Policies, one small file each, named as in the literature."""
