"""Balances of EVM chains: the scanner, the ladder of read techniques, the reader."""
