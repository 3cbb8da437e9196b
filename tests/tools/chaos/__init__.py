"""The chaos run: random failures of brokers, workers and clients; every event is accounted for."""
