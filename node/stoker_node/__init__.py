"""The node agent: device truth, reservations, request queues per device, dispatch."""
