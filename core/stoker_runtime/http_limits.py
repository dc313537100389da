"""How much of an answer is kept or read on the hops inside the platform, and how much is written at once."""

MAX_HEAD_BYTES = 64 * 1024
"""All heads of one exchange together, interim ones included: also what bounds an endless row of 1xx."""
MAX_HEADERS = 256
UNREAD_HIGH_BYTES = 64 * 1024
"""Reading from the socket stops while this much of the body waits to be read."""
UNREAD_LOW_BYTES = 16 * 1024
JOIN_BYTES = 16 * 1024
"""Up to here one joined write is cheaper than a list of two."""
