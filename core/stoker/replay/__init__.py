"""The event log and its replay: what the core was asked live, what it answered, and the same questions asked again."""
