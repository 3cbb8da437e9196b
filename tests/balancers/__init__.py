"""The load balancers of `deploy/`, run with the very files that are shipped."""
