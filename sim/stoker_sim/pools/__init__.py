"""The pools of Kernel as a Service: shared executors, and workers of one tenant each, on the engine's clock."""
