"""Where the workload of a scenario comes from: the forms that a user writes, and what is made of them."""
