"""What operators see: metrics, health; on a listener of its own, never the public one."""
