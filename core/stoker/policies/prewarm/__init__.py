"""What is made warm before requests come, and how long it stays after them."""
