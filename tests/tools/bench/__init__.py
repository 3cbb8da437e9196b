"""What an event, a stream and a broadcast cost: `make bench`, described in docs/performance.md."""
