#!/usr/bin/env python3
"""Open a Bursar backup without Bursar: one file, Python 3.9 or later, `cryptography` (45 or
later) and `zstandard`. The format is described in backup-format.md beside this file.

    python open_backup.py BACKUP.bursar                    # its header, needs no password
    python open_backup.py BACKUP.bursar --out RECORDS      # asks for the password
    python open_backup.py FULL.bursar INCR1.bursar ... --out RECORDS

With several files (the full first, then each incremental in turn) the records of the whole chain
are written, as they stood at the last one. RECORDS must not exist; it is one JSON object a line.
Nothing is written before everything was verified.
"""

import argparse
import base64
import getpass
import hashlib
import hmac
import json
import os
import sys
import unicodedata

MAGIC = b"BURSAR\x01"
CHUNK = 1024 * 1024
TAG = 16
DOMAIN = b"bursar key slot 1\0"
KEYS = {
    "setting": ("name",),
    "seed": (),
    "derivation": ("chainKind", "template"),
    "chain": ("name",),
    "asset": ("chain", "symbol", "contract"),
    "agent": ("agent",),
    "wallet": ("agent", "chain"),
    "lifecycle": ("agent",),
    "archive": ("agent",),
    "balance": ("agent", "chain", "symbol", "contract"),
    "limit": ("scope", "name", "chain", "symbol", "contract"),
    "threshold": ("peer", "token"),
    "checkpoint": ("part",),
    "pair": ("peer", "token"),
    "settlement": ("peer", "token", "direction"),
}
RANKS = list(KEYS)  # the order of the kinds


class Refused(Exception):
    """The backup cannot be opened; the message says why."""


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def read_header(file, name):
    """The header's fields, the associated data of every chunk, and where the chunks begin."""
    start = file.read(11)
    if start[:7] != MAGIC or len(start) < 11:
        raise Refused(f"{name} is no Bursar backup of format 1")
    length = int.from_bytes(start[7:], "big")
    if length > 65536:
        raise Refused(f"Backup checksum validation failed: {name}, header: impossible length")
    text = file.read(length)
    try:
        fields = json.loads(text)
        sound = canonical(fields) == text and fields["format"] == "bursar-backup"
        bound = {k: v for k, v in fields.items() if k not in ("slots", "slotsTag")}
        fields["slots"], fields["slotsTag"], fields["salt"], fields["noncePrefix"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise Refused(f"Backup checksum validation failed: {name}, header: it was changed")
    return fields, MAGIC + canonical(bound), 11 + length


def hkdf(secret, salt, info):
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(secret)


def wrapping_key(slot, secret):
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    salt = base64.b64decode(slot["salt"])
    if slot["kind"] == "recovery":
        letters = secret.upper().translate(str.maketrans("018", "OIB", " -\t\r\n"))
        return hkdf(base64.b32decode(letters)[:32], salt, DOMAIN)
    cost = slot["parameters"]
    memory, passes, lanes = cost["memoryKib"], cost["iterations"], cost["lanes"]
    if not (8192 <= memory <= 1048576 and 1 <= passes <= 16 and 1 <= lanes <= 16):
        raise Refused("the key slot asks for an insane amount of work; it was not run")
    return Argon2id(
        salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory
    ).derive(unicodedata.normalize("NFKC", secret).encode("utf-8", "surrogatepass"))


def unlock(fields, kind, secret, name):
    """The backup key, from the password or the recovery key."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    for slot in fields["slots"]:
        if slot["kind"] == kind:
            bound = DOMAIN + kind.encode() + b"\0backup " + fields["installId"].encode()
            try:
                return AESGCM(wrapping_key(slot, secret)).decrypt(
                    base64.b64decode(slot["nonce"]), base64.b64decode(slot["wrapped"]), bound
                )
            except (InvalidTag, ValueError):
                break
    raise Refused(f"that {kind} does not open {name}, or its key slot was damaged")


def check_slots(fields, key, name):
    mac_key = hkdf(key, b"", b"bursar slots\0" + fields["id"].encode())
    tag = hmac.new(mac_key, canonical(fields["slots"]), "sha256").hexdigest()
    if not hmac.compare_digest(tag, fields["slotsTag"]):
        raise Refused(f"Backup checksum validation failed: {name}, header: it was changed")


def chunks(file, name, fields, associated, start, key):
    """Every chunk as stored and as plain bytes, authenticated."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    file_key = hkdf(key, bytes.fromhex(fields["salt"]), b"bursar archive\0" + fields["id"].encode())
    gcm, prefix = AESGCM(file_key), bytes.fromhex(fields["noncePrefix"])
    file.seek(start)
    stored, number = file.read(CHUNK + TAG), 0
    while True:
        following = file.read(CHUNK + TAG) if len(stored) == CHUNK + TAG else b""
        nonce = prefix + number.to_bytes(4, "big") + bytes([not following])
        try:
            yield stored, gcm.decrypt(nonce, stored, associated)
        except (InvalidTag, ValueError):
            raise Refused(f"Backup checksum validation failed: {name}, chunk {number}") from None
        if not following:
            return
        stored, number = following, number + 1


def content_hash(path, key):
    """The header and the hash of everything but the slots, every chunk being authenticated."""
    with open(path, "rb") as file:
        fields, associated, start = read_header(file, path)
        check_slots(fields, key, path)
        content = hashlib.sha256(associated)
        for stored, _ in chunks(file, path, fields, associated, start, key):
            content.update(stored)
    return fields, content.hexdigest()


def lines(path, key):
    import zstandard

    inflate = zstandard.ZstdDecompressor(max_window_size=8 * CHUNK).decompressobj()
    with open(path, "rb") as file:
        fields, associated, start = read_header(file, path)
        rest = b""
        for _, plain in chunks(file, path, fields, associated, start, key):
            found = (rest + inflate.decompress(plain)).split(b"\n")
            rest = found.pop()
            yield from found
    if rest or not inflate.eof or inflate.unused_data:
        raise Refused(f"Backup checksum validation failed: {path}: it ends inside a record")


def place(record):
    """Where a record stands in every archive: the rank of its kind, then its key."""
    if record["kind"] == "gone":
        return RANKS.index(record["of"]), tuple(record["key"])
    values = tuple(str(record.get(name, "")) for name in KEYS[record["kind"]])
    if record["kind"] == "checkpoint":
        values = (values[0].zfill(8),)
    return RANKS.index(record["kind"]), values


def merged(paths, key):
    """The lines of the state after the last archive: the newest one that names a record counts."""
    import heapq

    def aged(path, age):
        for line in lines(path, key):
            record = json.loads(line)
            yield place(record), -age, record["kind"] == "gone", line

    done = None
    for where, _, is_gone, line in heapq.merge(*(aged(p, age) for age, p in enumerate(paths))):
        if where != done and not is_gone:
            yield line
        done = where


def open_chain(paths, key):
    """Check every file and that each was made upon the one before it."""
    before = None
    for path in paths:
        fields, content = content_hash(path, key)
        expected = (fields.get("parentId"), fields.get("parentSha256"))
        if expected != (before or (None, None)):
            raise Refused(f"{path} was made upon backup {expected[0]}; give that file before it")
        before = (fields["id"], content)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backup", nargs="+", help="the full, then its incrementals in turn")
    parser.add_argument("--out", help="new file for the records, one JSON object a line")
    parser.add_argument("--recovery-key", action="store_true", help="ask for that instead")
    parser.add_argument("--password-stdin", action="store_true", help="read it from standard input")
    given = parser.parse_args()
    try:
        with open(given.backup[-1], "rb") as file:
            fields, _, _ = read_header(file, given.backup[-1])
        if given.out is None:
            print(json.dumps(fields, indent=2))
            return 0
        kind = "recovery" if given.recovery_key else "password"
        if given.password_stdin:
            secret = sys.stdin.readline().rstrip("\n")
        else:
            secret = getpass.getpass(f"{kind}: ")
        key = unlock(fields, kind, secret, given.backup[-1])
        open_chain(given.backup, key)
        descriptor = os.open(given.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            for line in merged(given.backup, key):
                out.write(line + b"\n")
    except (Refused, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
