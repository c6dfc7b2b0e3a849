"""The XRP Ledger, read over one WebSocket per endpoint.

`reader.XrplReader` is the door. `sweep` knows what is asked and what was answered, `connection`
the socket, `wire` the bytes, `follow` how the transactions stream spares a slow server.
"""

from core.chains.xrpl.reader import XrplReader

__all__ = ["XrplReader"]
