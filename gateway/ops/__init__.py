"""What operators see: metrics, health; on a separate listener, never the public one."""
