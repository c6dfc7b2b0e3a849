"""Hostile tokens as tiny runtime code: every way in which `balanceOf` goes wrong."""

from __future__ import annotations

from tests.chain.assembler import assemble

REVERTS = assemble("PUSH1 0 PUSH1 0 REVERT")
REVERTS_WITH_WORDS = assemble("""
    PUSH4 0x08c379a0 PUSH1 224 SHL PUSH1 0 MSTORE       ; Error(string)
    PUSH1 32 PUSH1 4 MSTORE PUSH1 6 PUSH1 36 MSTORE
    PUSH6 0x6c6f636b6564 PUSH1 208 SHL PUSH1 68 MSTORE  ; "locked"
    PUSH1 100 PUSH1 0 REVERT
""")
RETURNS_NOTHING = assemble("STOP")
RETURNS_31_BYTES = assemble("PUSH1 1 PUSH1 0 MSTORE PUSH1 31 PUSH1 0 RETURN")
RETURNS_64_BYTES = assemble("PUSH1 5 PUSH1 0 MSTORE PUSH1 64 PUSH1 0 RETURN")
RETURNS_A_MEGABYTE = assemble("PUSH3 1000000 PUSH1 0 RETURN")
BURNS_ALL_GAS = assemble("loop: PUSH1 @loop JUMP")
INVALID_OPCODE = assemble("INVALID")
LARGEST = assemble("PUSH1 0 NOT PUSH1 0 MSTORE PUSH1 32 PUSH1 0 RETURN")  # 2^256 - 1
ZERO = assemble("PUSH1 32 PUSH1 0 RETURN")
# The low 16 bits of the address asked for, so that every wallet's balance is known.
FROM_ADDRESS = assemble("""
    PUSH1 4 CALLDATALOAD PUSH2 0xffff AND PUSH1 0 MSTORE PUSH1 32 PUSH1 0 RETURN
""")
# Reverts for odd addresses only.
REVERTS_FOR_SOME = assemble("""
    PUSH1 4 CALLDATALOAD PUSH1 1 AND PUSH1 @odd JUMPI
    PUSH1 7 PUSH1 0 MSTORE PUSH1 32 PUSH1 0 RETURN
odd:
    PUSH1 0 PUSH1 0 REVERT
""")
# An honest but dear token: some 330,000 gas for an answer.
DEAR = assemble("""
    PUSH2 10000
again:
    PUSH1 1 SWAP1 SUB DUP1 PUSH1 @again JUMPI
    PUSH1 9 PUSH1 0 MSTORE PUSH1 32 PUSH1 0 RETURN
""")
