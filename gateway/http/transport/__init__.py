"""Connections and bytes: accepting, reading heads, writing streams."""
