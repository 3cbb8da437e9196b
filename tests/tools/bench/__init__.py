"""The cost of an event, a stream and a broadcast: `make bench`, see docs/performance.md."""
