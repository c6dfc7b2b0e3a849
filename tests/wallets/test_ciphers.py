"""Argon2id beside its authors' vectors, another implementation, and too little memory."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from core.wallets.ciphers import argon2id
from core.wallets.secrets import SecretBytes

# phc-winner-argon2, src/test.c, Argon2id of version 0x13: passes, KiB, lanes, password, salt, tag.
REFERENCE = [
    (2, 65536, 1, b"password", b"somesalt",
     "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"),
    (2, 256, 1, b"password", b"somesalt",
     "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"),
    (2, 256, 2, b"password", b"somesalt",
     "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037"),
    (4, 65536, 1, b"password", b"somesalt",
     "9025d48e68ef7395cca9079da4c4ec3affb3c8911fe4f86d1a2520856f63172c"),
    (2, 65536, 1, b"differentpassword", b"somesalt",
     "0b84d652cf6b0c4beaef0dfe278ba6a80df6696281d7e0d2891b817d8c458fde"),
    (2, 65536, 1, b"password", b"diffsalt",
     "bdf32b05ccc42eb15d58fd19b1f856b113da1e9a5874fdcc544308565aa8141c"),
]  # fmt: skip

SHORT_OF_MEMORY = """
import resource
from core.wallets import ciphers, slots
from core.wallets.secrets import Password, SecretBytes
from core.model import Secret
ciphers.argon2id(SecretBytes(b"warm"), bytes(16), 32, iterations=1, lanes=1, memory_kib=8)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 32 * 2**20, -1))
try:
    slots.wrap(SecretBytes(bytes(32)), Password(Secret("of somebody")), b"here")
except slots.SlotError as error:
    print(error)
"""


@pytest.mark.parametrize(("passes", "kib", "lanes", "password", "salt", "tag"), REFERENCE)
def test_argon2id_gives_the_tags_of_its_authors(
    passes: int, kib: int, lanes: int, password: bytes, salt: bytes, tag: str
) -> None:
    found = argon2id(
        SecretBytes(password), salt, 32, iterations=passes, lanes=lanes, memory_kib=kib
    )
    assert found.reveal().hex() == tag


@pytest.mark.parametrize(("passes", "kib", "lanes"), [(3, 65536, 4), (1, 8192, 1), (5, 999, 16)])
@pytest.mark.parametrize("password", [b"", "Zürich\0 and more".encode(), bytes(range(256)) * 3])
def test_argon2id_is_the_one_that_the_stand_alone_opener_uses(
    passes: int, kib: int, lanes: int, password: bytes
) -> None:
    salt = bytes(range(16))
    theirs = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=kib)
    ours = argon2id(SecretBytes(password), salt, 32, iterations=passes, lanes=lanes, memory_kib=kib)
    assert ours.reveal() == theirs.derive(password)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says what the process has")
def test_a_machine_short_of_memory_says_how_much_the_password_takes() -> None:
    told = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY], capture_output=True, text=True, check=True
    )
    assert told.stdout.startswith("Checking the password takes 64 MiB of memory"), told.stderr
