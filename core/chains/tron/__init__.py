"""TRON, read through java-tron's `/jsonrpc` by the EVM path where it allows, else `/wallet`.

`reader.TronReader` is the door. What differs from an EVM chain is here: only the newest state
can be read (pins are accepted and ignored), a call has 80 ms, and accounts must be activated.
"""

from core.chains.tron.reader import TronReader

__all__ = ["TronReader"]
