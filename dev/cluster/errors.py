"""The root of all expected errors of the cluster: each one's message is one sentence, and the command line prints
only that.
"""


class ClusterError(Exception):
    """Something that a user can read and act on."""
