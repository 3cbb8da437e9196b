"""Workers behind a load balancer are replaced and killed, and every event is accounted for."""
