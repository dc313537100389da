"""The values that everything else speaks in: functions, devices, replicas, requests."""
