"""Reading records from Kafka: protocol, session, batches, reader, scanner."""
