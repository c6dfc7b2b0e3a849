"""Which accounts of a fleet were never activated: an account without TRX reads 0 either way.

A few are looked up with each reading, in turn; an activated account stays so.
"""

from __future__ import annotations

from typing import Final

from core.chains.evm.plan import Plan
from core.chains.failures import EndpointError, FailureKind
from core.chains.tron.node import TronNode

NOT_ACTIVATED: Final = "not activated"

_LOOK_UPS: Final = 30  # wallet/getaccount per reading


class Activation:
    """What is known of the accounts of one network, by twenty bytes of address."""

    def __init__(self) -> None:
        self._activated: set[bytes] = set()
        self._inactive: set[bytes] = set()
        self._turn = 0

    async def look_up(self, node: TronNode, plan: Plan) -> None:
        """Ask for some of the accounts that the plan's last reading found without TRX. A node
        that does not answer is asked again with a later reading."""
        if not node.has_wallet:
            return
        for wallet in self._due(plan):
            try:
                account = await node.account(wallet)
            except EndpointError as error:
                if error.kind in (FailureKind.NOT_JSON, FailureKind.NO_METHOD):
                    node.has_wallet = False
                return  # what is read is read: the mark comes with a later reading
            if account.address:
                self._activated.add(wallet)
                self._inactive.discard(wallet)
            else:
                self._inactive.add(wallet)

    def _due(self, plan: Plan) -> list[bytes]:
        """Accounts nothing is known of, and one that was not activated when last asked: it may
        have been since, without receiving TRX."""
        unclear: list[bytes] = []
        inactive: list[bytes] = []
        for group in plan.groups:
            natives = group.values[:: group.width]
            for wallet, balance in zip(group.wallets, natives, strict=True):
                if balance:
                    self._inactive.discard(wallet)
                elif wallet in self._inactive:
                    inactive.append(wallet)
                elif wallet not in self._activated:
                    unclear.append(wallet)
        due = unclear[:_LOOK_UPS]
        if inactive:
            self._turn += 1
            due.append(inactive[self._turn % len(inactive)])
        return due

    def marks(self, plan: Plan) -> dict[int, str]:
        """`Reading.marks` of the plan's requests (whose addresses are 0x hex)."""
        if not self._inactive:
            return {}
        inactive = {"0x" + wallet.hex() for wallet in self._inactive}
        return {
            index: NOT_ACTIVATED
            for index, request in enumerate(plan.requests)
            if request.asset.contract is None and request.address in inactive
        }
