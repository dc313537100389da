"""Where a replica should run: which nodes can hold it (facts only), and how soon each would serve it."""
