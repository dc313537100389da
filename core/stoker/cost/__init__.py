"""What replicas and requests cost: prices of devices, the accounts of their time, and what a bound on cost permits."""
