"""The demo: an embedded broker, sample activity and a page to watch it."""
