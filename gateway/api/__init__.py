"""Machine-readable descriptions: OpenAPI for requests, AsyncAPI for events and records."""
