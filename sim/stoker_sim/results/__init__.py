"""Published results made again: one module each, with the sources of its inputs and what it could not make again."""
