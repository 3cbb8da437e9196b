"""The brokers that the integration suite runs on."""
