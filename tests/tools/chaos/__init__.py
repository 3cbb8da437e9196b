"""The chaos run: brokers, workers and clients fail at random, and every event is accounted for."""
