"""Replicas as local processes: the launcher inside `stoker serve`, and the spawner process that it talks to."""
