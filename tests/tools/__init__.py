"""Tools that measure, attack and drill a gateway, each beside tests of its own."""
