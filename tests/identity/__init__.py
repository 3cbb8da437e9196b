"""Identity servers for tests."""
