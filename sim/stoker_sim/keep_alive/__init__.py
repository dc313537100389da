"""Keep-alive by itself: idle gaps of functions and a memory pool, driven by the core's own policies, without queues."""
