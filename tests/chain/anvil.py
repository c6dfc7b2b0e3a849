"""A real EVM node for tests: anvil, found, started on a free loopback port, driven and ended.

Found as $BURSAR_ANVIL, in .cache/npm (where `make test` installs it), or on PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec

from core.chains.evm import multicall
from core.chains.evm.address import keccak256
from core.events import Json

ROOT = Path(__file__).parents[2]
NPM = ROOT / ".cache" / "npm" / "node_modules"
ARTIFACTS = NPM / "@openzeppelin" / "contracts" / "build" / "contracts"
DEPLOYER = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"  # anvil's first funded account
MISSING = "anvil is not installed (make test installs it where npm is): no tests on a real EVM node"


def find() -> Path | None:
    """The native anvil executable, if there is one. Raises FileNotFoundError if $BURSAR_ANVIL
    names one that is not there."""
    named = os.environ.get("BURSAR_ANVIL")
    if named:
        if not Path(named).is_file():
            raise FileNotFoundError(f"BURSAR_ANVIL names {named}, and there is no such file")
        return Path(named)
    native = sorted(NPM.glob("@foundry-rs/anvil-*/bin/anvil*"))
    if native:
        return native[0]
    on_path = shutil.which("anvil")
    return Path(on_path) if on_path else None


class AnvilError(Exception):
    """A JSON-RPC error from anvil itself, in a test's set-up."""


class Anvil:
    """A running node. Methods set state up over its own JSON-RPC, one block per transaction."""

    def __init__(self, url: str, executable: Path) -> None:
        self.url = url
        self.executable = executable
        self._http = httpx.Client(timeout=120, headers={"Content-Type": "application/json"})

    def rpc(self, method: str, *params: Json) -> Json:
        """One call; its result. Raises AnvilError."""
        return self.rpc_many([(method, list(params))])[0]

    def rpc_many(self, calls: Sequence[tuple[str, list[Json]]]) -> list[Json]:
        """Several calls in one batch; their results in order. Raises AnvilError."""
        body = [
            {"jsonrpc": "2.0", "id": i, "method": method, "params": params}
            for i, (method, params) in enumerate(calls)
        ]
        answer = self._http.post(self.url, content=json.dumps(body))
        replies = msgspec.json.decode(answer.content, type=list[dict[str, Json]])
        failed = next((reply["error"] for reply in replies if "error" in reply), None)
        if failed is not None:
            raise AnvilError(str(failed))
        return [reply["result"] for reply in sorted(replies, key=lambda r: str(r["id"]).zfill(9))]

    def revert_of(self, *params: Json) -> bytes:
        """The revert data of an eth_call that must revert."""
        body: Json = {"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": list(params)}
        reply = self._http.post(self.url, content=json.dumps(body)).json()
        assert reply["error"]["code"] == 3, reply
        return bytes.fromhex(reply["error"]["data"][2:])

    def set_code(self, address: bytes, code: bytes) -> None:
        """Put runtime code at an address."""
        self.rpc("anvil_setCode", "0x" + address.hex(), "0x" + code.hex())

    def set_native(self, amounts: dict[bytes, int]) -> None:
        """Set native balances in wei."""
        self._in_batches(
            [("anvil_setBalance", ["0x" + a.hex(), hex(n)]) for a, n in amounts.items()]
        )

    def set_tokens(self, token: bytes, amounts: dict[bytes, int], slot: int = 0) -> None:
        """Set balances of an OpenZeppelin 4.9 ERC-20, whose `_balances` lies at storage 0."""
        self._in_batches(
            [
                (
                    "anvil_setStorageAt",
                    [
                        "0x" + token.hex(),
                        "0x" + keccak256(bytes(12) + owner + slot.to_bytes(32, "big")).hex(),
                        "0x" + amount.to_bytes(32, "big").hex(),
                    ],
                )
                for owner, amount in amounts.items()
            ]
        )

    def _in_batches(self, calls: list[tuple[str, list[Json]]], size: int = 2_000) -> None:
        for first in range(0, len(calls), size):
            self.rpc_many(calls[first : first + size])

    def native_of(self, address: bytes) -> int:
        """A native balance in wei, at the head."""
        return int(str(self.rpc("eth_getBalance", "0x" + address.hex(), "latest")), 16)

    def mine(self, blocks: int = 1) -> int:
        """Mine and return the new head's number."""
        self.rpc("anvil_mine", hex(blocks))
        return self.head()

    def head(self) -> int:
        """The head's number."""
        return int(str(self.rpc("eth_blockNumber")), 16)

    def deploy_token(self, name: str, symbol: str, supply: int) -> bytes:
        """Deploy OpenZeppelin's ERC20PresetFixedSupply; the deployer owns the supply."""
        artifact = ARTIFACTS / "ERC20PresetFixedSupply.json"
        creation = json.loads(artifact.read_text())["bytecode"]
        arguments = [
            (128).to_bytes(32, "big"),
            (192).to_bytes(32, "big"),
            supply.to_bytes(32, "big"),
            bytes(12) + bytes.fromhex(DEPLOYER[2:]),
            *(len(t).to_bytes(32, "big") + t.encode().ljust(32, b"\0") for t in (name, symbol)),
        ]
        transaction: Json = {
            "from": DEPLOYER,
            "data": creation + b"".join(arguments).hex(),
            "gas": hex(5_000_000),
        }
        sent = self.rpc("eth_sendTransaction", transaction)
        deadline = time.monotonic() + 60
        while not isinstance(receipt := self.rpc("eth_getTransactionReceipt", sent), dict):
            assert time.monotonic() < deadline, "the token's deployment was not mined"
            time.sleep(0.01)
        return bytes.fromhex(str(receipt["contractAddress"])[2:])

    def multicall3(self) -> bytes | None:
        """Multicall3's real runtime code, which the node carries in its executable for chains
        that have it from genesis; None where it is not found there."""
        image = self.executable.read_bytes()
        at = image.find(bytes.fromhex("6080604052600436106100f35760003560e01c"))
        while at >= 0:
            code = image[at : at + 3_808]
            if keccak256(code).hex() == multicall.CODE_HASH:
                return code
            at = image.find(code[:19], at + 1)
        return None


@contextmanager
def running(executable: Path, *options: str) -> Iterator[Anvil]:
    """Start a node on a free port, wait until it answers, end it afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [str(executable), "--host", "127.0.0.1", "--port", str(port), "--silent", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        anvil = Anvil(f"http://127.0.0.1:{port}", executable)
        deadline = time.monotonic() + 60
        while True:
            try:
                anvil.rpc("eth_chainId")
                break
            except httpx.TransportError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    told = process.communicate()[1].decode(errors="replace")[:500]
                    raise RuntimeError(f"{executable} did not start: {told}") from error
                time.sleep(0.05)
        yield anvil
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stderr:
            process.stderr.close()
