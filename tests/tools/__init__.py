"""Tools that measure, attack and drill a gateway, each with its tests."""
