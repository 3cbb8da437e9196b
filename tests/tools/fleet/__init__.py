"""Workers behind a load balancer are replaced and killed; every event is accounted for."""
