"""Readers held to a real EVM node: anvil, started by these tests."""
