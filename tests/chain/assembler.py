"""A two-pass assembler for `scanner.asm` and for the hostile tokens of the tests.

Words are opcodes, `PUSHn value` (decimal, 0x hex or @label), `label:` (a JUMPDEST, except
`end:`, which only names the length), and `;` comments.
"""

from __future__ import annotations

OPCODES: dict[str, int] = {
    "STOP": 0x00,
    "ADD": 0x01,
    "MUL": 0x02,
    "SUB": 0x03,
    "DIV": 0x04,
    "LT": 0x10,
    "GT": 0x11,
    "EQ": 0x14,
    "ISZERO": 0x15,
    "AND": 0x16,
    "NOT": 0x19,
    "SHL": 0x1B,
    "SHR": 0x1C,
    "KECCAK256": 0x20,
    "BALANCE": 0x31,
    "CALLDATALOAD": 0x35,
    "CALLDATASIZE": 0x36,
    "CALLDATACOPY": 0x37,
    "CODESIZE": 0x38,
    "CODECOPY": 0x39,
    "EXTCODESIZE": 0x3B,
    "RETURNDATASIZE": 0x3D,
    "BLOCKHASH": 0x40,
    "TIMESTAMP": 0x42,
    "NUMBER": 0x43,
    "CHAINID": 0x46,
    "POP": 0x50,
    "MLOAD": 0x51,
    "MSTORE": 0x52,
    "MSTORE8": 0x53,
    "SLOAD": 0x54,
    "JUMP": 0x56,
    "JUMPI": 0x57,
    "GAS": 0x5A,
    "JUMPDEST": 0x5B,
    "RETURN": 0xF3,
    "STATICCALL": 0xFA,
    "REVERT": 0xFD,
    "INVALID": 0xFE,
}
OPCODES |= {f"DUP{n}": 0x7F + n for n in range(1, 17)}
OPCODES |= {f"SWAP{n}": 0x8F + n for n in range(1, 17)}


def assemble(source: str) -> bytes:
    """Bytecode of an assembly text. Raises KeyError for an unknown word or label, and
    OverflowError for a value that does not fit its PUSH."""
    words = [word for line in source.splitlines() for word in line.split(";")[0].split()]
    labels: dict[str, int] = {}
    operands: list[tuple[int, int, str]] = []  # where in the code, its width, what
    code = bytearray()
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if word.endswith(":"):
            labels[word[:-1]] = len(code)
            if word != "end:":
                code.append(OPCODES["JUMPDEST"])
        elif word.startswith("PUSH"):
            width = int(word[4:])
            code.append(0x5F + width)
            operands.append((len(code), width, words[index]))
            code += bytes(width)
            index += 1
        else:
            code.append(OPCODES[word])
    for at, width, operand in operands:
        value = labels[operand[1:]] if operand.startswith("@") else int(operand, 0)
        code[at : at + width] = value.to_bytes(width, "big")
    return bytes(code)
