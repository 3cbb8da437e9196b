"""The fleet of workers: statuses, members, history, issues, and capacity; pure."""
