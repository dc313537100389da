"""What an agent does with its slots, without its connections: shared by the node agent and the simulator."""
