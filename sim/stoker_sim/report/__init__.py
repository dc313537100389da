"""What people and programs are shown of simulations: tables as plain data, JSON, CSV, and one page of HTML."""
