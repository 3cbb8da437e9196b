"""The commands of `gateway`, one module each."""
