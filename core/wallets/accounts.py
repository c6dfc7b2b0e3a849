"""Account xpubs: the public half of the seed, in a file beside the vault.

With it new agents, checks and drills need no password and no private key. What an xpub cannot
give is spending; what it does give is the sight of every address, so the file is private too.
Derivation itself is `derivation`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from core.model import ChainKind
from core.wallets import private_files
from core.wallets.bip32 import HARDENED, DerivationError, ExtendedPublicKey, parse_path, path_text
from core.wallets.seed import Seed

FILE_NAME: Final = "accounts.json"
INDEX: Final = "{index}"
DEFAULT_TEMPLATES: Final[Mapping[ChainKind, str]] = MappingProxyType(
    {
        ChainKind.EVM: "m/44'/60'/1'/0/{index}",
        ChainKind.XRPL: "m/44'/144'/1'/0/{index}",
        ChainKind.TRON: "m/44'/195'/1'/0/{index}",
    }
)
_LARGEST: Final = 256 * 1024


class AccountsError(DerivationError):
    """The account keys are not the seed's, or lack one that is needed."""


class NoAccountsError(AccountsError):
    """There is no whole file of account keys for this seed; unlocking the vault writes it."""


class Template(msgspec.Struct, frozen=True):
    """A path with a place for the index: `account` down to the last hardened step, for which a
    private key is needed once, and the public steps between it and the index."""

    account: tuple[int, ...]
    public: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Read `m/44'/60'/1'/0/{index}`. Raises DerivationError unless the index stands last and
        is not hardened (an xpub could not give it), below at least one hardened step."""
        head, slash, last = text.rpartition("/")
        if not slash or last != INDEX or INDEX in head:
            raise DerivationError(
                f"Path template {text[:80]!r} must end in {INDEX}, not hardened, and name it once."
            )
        steps = parse_path(head)
        hardened = max((n for n, step in enumerate(steps, 1) if step >= HARDENED), default=0)
        if not hardened:
            raise DerivationError(
                f"Path template {text[:80]!r} needs a hardened step, as in m/44'/60'/1'/0/{INDEX}."
            )
        return cls(steps[:hardened], steps[hardened:])


class AccountKey(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The extended public key of one account, and the template it was made for."""

    kind: ChainKind
    template: str
    xpub: str


class Accounts(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The file: all account keys of one seed. The last of a kind is used for new addresses; those
    before it are there for addresses derived when it was another. `sha256` finds damage."""

    fingerprint: str
    keys: tuple[AccountKey, ...]
    format: Literal["bursar-accounts"] = "bursar-accounts"
    version: Literal[1] = 1
    sha256: str = ""

    def current(self, kind: ChainKind) -> AccountKey:
        """The key for new addresses. Raises AccountsError where there is none of that kind."""
        for key in reversed(self.keys):
            if key.kind is kind:
                return key
        raise AccountsError(f"There is no {kind} account key; derive it from the seed first.")


def derive_accounts(
    seed: Seed,
    templates: Mapping[ChainKind, str] = DEFAULT_TEMPLATES,
    before: Accounts | None = None,
) -> Accounts:
    """The account keys of a seed, after those `before`. Raises DerivationError for a wrong
    template, AccountsError where `before` is another seed's. Blocks for some milliseconds."""
    fingerprint = seed.fingerprint()
    if before is not None and before.fingerprint != fingerprint:
        raise AccountsError("The account keys kept here belong to another seed.")
    master = seed.master()
    new = tuple(
        AccountKey(kind, text, master.walk(Template.parse(text).account).public().text())
        for kind, text in templates.items()
    )
    old = tuple(key for key in before.keys if key not in new) if before is not None else ()
    return Accounts(fingerprint, old + new)


def follows(accounts: Accounts, templates: Mapping[ChainKind, str]) -> bool:
    """Whether new addresses of every kind would be derived by these templates."""
    kept = {key.kind: key.template for key in accounts.keys}  # the last of a kind stands
    return all(kept.get(kind) == text for kind, text in templates.items())


def check_accounts(accounts: Accounts, seed: Seed) -> None:
    """See that every key really is the seed's: a file that was tampered with would have new
    agents funded at somebody else's addresses. Raises AccountsError."""
    if accounts.fingerprint != seed.fingerprint():
        raise AccountsError("The account keys kept here belong to another seed.")
    master = seed.master()
    for key in accounts.keys:
        path = Template.parse(key.template).account
        if master.walk(path).public().text() != key.xpub:
            raise AccountsError(
                f"The {key.kind} account key of {path_text(path)} is not this seed's: "
                f"{FILE_NAME} was changed. Fund none of its addresses; restore a backup."
            )


def read_accounts(folder: Path) -> Accounts:
    """Read the file of a generation. Raises NoAccountsError, PrivateFileError."""
    path = folder / FILE_NAME
    try:
        content = private_files.read(path, _LARGEST)
    except private_files.AbsentError as error:
        raise NoAccountsError(
            f"{path} is not there: no address can be derived. `bursar seed unlock` brings the file "
            "back with the seed's password."
        ) from error
    return decode_accounts(content, str(path))


def decode_accounts(content: bytes, where: str) -> Accounts:
    """Read the file's content (from a backup, say). Raises NoAccountsError naming `where`."""
    damaged = f"{where} is damaged; `bursar seed unlock` brings it back, or a backup."
    try:
        accounts = msgspec.json.decode(content, type=Accounts)
        if encode_accounts(accounts) != content:
            raise NoAccountsError(damaged)
        for key in accounts.keys:
            Template.parse(key.template)
            ExtendedPublicKey.parse(key.xpub)
    except (msgspec.DecodeError, DerivationError) as error:
        raise NoAccountsError(damaged) from error
    return accounts


def write_accounts(folder: Path, accounts: Accounts) -> None:
    """Write or replace the file. Raises PrivateFileError."""
    private_files.replace(folder / FILE_NAME, encode_accounts(accounts))


def encode_accounts(accounts: Accounts) -> bytes:
    """The file's one canonical content, its digest inside."""
    bare = msgspec.json.encode(msgspec.structs.replace(accounts, sha256=""))
    digest = hashlib.sha256(bare).hexdigest()
    whole = msgspec.json.encode(msgspec.structs.replace(accounts, sha256=digest))
    return msgspec.json.format(whole, indent=1) + b"\n"
