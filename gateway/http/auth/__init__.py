"""Tokens, the keys that verify them, and the issuers that sign them."""
