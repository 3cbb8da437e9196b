"""The only importer of aiohttp: the events endpoint, authentication, problem details."""
