"""The yardstick: the best that any policy could have done, exactly for small instances and as a bound for traces."""
