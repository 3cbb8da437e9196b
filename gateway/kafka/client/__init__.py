"""The connections to Kafka: who leads what, where logs end, and a connection to each broker."""
