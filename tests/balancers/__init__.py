"""The load balancers of `deploy/`, run with the shipped files."""
