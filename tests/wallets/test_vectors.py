"""Words, keys and addresses against what others published and what other libraries derive."""

from __future__ import annotations

import httpx
import pytest

from core.chains.base58 import BITCOIN_ALPHABET, decode_check, encode_check
from core.chains.evm.address import checksum
from core.model import ChainKind, Secret
from core.wallets.accounts import DEFAULT_TEMPLATES, derive_accounts
from core.wallets.bip32 import (
    HARDENED,
    DerivationError,
    ExtendedPrivateKey,
    ExtendedPublicKey,
    parse_path,
    path_text,
)
from core.wallets.derivation import Deriver
from core.wallets.secrets import SecretBytes
from core.wallets.seed import Seed, SeedError
from tests.chain import anvil as node
from tests.wallets.vectors import ABANDON, BIP32, BIP39, JUNK

FIRST_ACCOUNT = {kind: text.replace("1'", "0'") for kind, text in DEFAULT_TEMPLATES.items()}


def seed_of(words: str) -> Seed:
    return Seed.from_words(Secret(words))


def deriver(words: str, templates: dict[ChainKind, str] | None = None) -> Deriver:
    return Deriver(derive_accounts(seed_of(words), templates or DEFAULT_TEMPLATES))


@pytest.mark.parametrize(("entropy", "words", "binary"), BIP39)
def test_words_entropy_and_binary_seed_are_those_of_bip39(
    entropy: str, words: str, binary: str
) -> None:
    seed = seed_of(words)
    assert seed.entropy.reveal().hex() == entropy
    assert Seed(SecretBytes(bytes.fromhex(entropy))).words().reveal() == words
    assert seed.stretched(b"TREZOR").reveal().hex() == binary


@pytest.mark.parametrize(("seed", "path", "xpub"), BIP32)
def test_extended_keys_are_those_of_bip32(seed: str, path: str, xpub: str) -> None:
    master = ExtendedPrivateKey.from_seed(SecretBytes(bytes.fromhex(seed)))
    steps = parse_path(path)
    public = master.walk(steps).public()
    assert public.text() == xpub
    assert ExtendedPublicKey.parse(xpub) == public
    if steps and steps[-1] < HARDENED:  # the same without a private key
        assert master.walk(steps[:-1]).public().child(steps[-1]) == public


def test_paths_are_read_and_written_the_same() -> None:
    assert path_text(parse_path("m/44h/60H/1'/0/7")) == "m/44'/60'/1'/0/7"
    for wrong in ("", "44'/60'", "m/", "m/x", "m/-1", "m/2147483648", "m/01", "m/1''", "M/1"):
        with pytest.raises(DerivationError):
            parse_path(wrong)


def test_texts_that_are_no_extended_public_key_are_refused() -> None:
    good = decode_check(BIP32[2][2])
    root = decode_check(BIP32[0][2])
    assert ExtendedPublicKey.parse(encode_check(good)).depth == 2
    for broken in (
        bytes.fromhex("0488ade4") + good[4:],  # a private key's version
        good[:45] + b"\x04" + good[46:],  # no compressed key
        good[:45] + b"\x02" + b"\xff" * 32,  # no point of the curve
        root[:5] + b"\x01" + root[6:],  # a root with a parent
        root[:12] + b"\x01" + root[13:],  # a root with a number
        good[:-1],
    ):
        with pytest.raises(DerivationError):
            ExtendedPublicKey.parse(encode_check(broken))
    for text in ("", "xpub", BIP32[2][2][:-1] + "1", BIP32[2][2] + "0"):
        with pytest.raises(DerivationError):
            ExtendedPublicKey.parse(text)


def test_a_hardened_child_needs_the_private_key() -> None:
    with pytest.raises(DerivationError, match="public key"):
        ExtendedPublicKey.parse(BIP32[0][2]).child(HARDENED)


@pytest.mark.parametrize(
    ("words", "evm", "xrpl", "tron"),
    [
        (
            ABANDON,
            "0x9858EfFD232B4033E47d90003D41EC34EcaEda94",
            "rHsMGQEkVNJmpGWs8XUBoTBiAAbwxZN5v3",
            "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH",
        ),
        (
            JUNK,
            "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
            "rnrbiYDUYTJS4JVdSV5FtyCj4HFuRjfLKM",
            "TWer2Ygk5TEheHp3TPuYeqxmB6SsGZmaL6",
        ),
    ],
)
def test_the_known_phrases_give_their_known_first_addresses(
    words: str, evm: str, xrpl: str, tron: str
) -> None:
    derive = deriver(words, FIRST_ACCOUNT).derive
    assert checksum(derive(ChainKind.EVM, 0).address) == evm
    assert derive(ChainKind.XRPL, 0).address == xrpl
    assert derive(ChainKind.TRON, 0).address == tron


@pytest.mark.parametrize("words", [ABANDON, JUNK])
@pytest.mark.parametrize("index", [0, 1, 9_999, HARDENED - 1])
def test_addresses_are_those_of_eth_account_and_xrpl_py(words: str, index: int) -> None:
    import base58
    from eth_account import Account
    from eth_account.hdaccount import seed_from_mnemonic
    from eth_account.hdaccount.deterministic import HDPath
    from eth_keys.datatypes import PrivateKey
    from xrpl.core.keypairs import derive_classic_address

    own = deriver(words)
    Account.enable_unaudited_hdwallet_features()
    theirs = Account.from_mnemonic(words, account_path=f"m/44'/60'/1'/0/{index}").address
    derived = own.derive(ChainKind.EVM, index)
    assert checksum(derived.address) == theirs
    assert derived.path == f"m/44'/60'/1'/0/{index}"

    def public_key(path: str) -> bytes:
        secret = HDPath(path).derive(seed_from_mnemonic(words, ""))
        return PrivateKey(secret).public_key.to_compressed_bytes()

    on_xrpl = public_key(f"m/44'/144'/1'/0/{index}").hex().upper()
    assert own.derive(ChainKind.XRPL, index).address == derive_classic_address(on_xrpl)

    secret = HDPath(f"m/44'/195'/1'/0/{index}").derive(seed_from_mnemonic(words, ""))
    account = PrivateKey(secret).public_key.to_canonical_address()
    with_version = base58.b58encode_check(b"\x41" + account, BITCOIN_ALPHABET.encode()).decode()
    assert own.derive(ChainKind.TRON, index).address == with_version


def test_the_addresses_of_test_junk_are_anvils_own_accounts() -> None:
    executable = node.find()
    if executable is None:
        pytest.skip(node.MISSING)
    with node.running(executable) as running:
        body = {"jsonrpc": "2.0", "id": 1, "method": "eth_accounts", "params": []}
        accounts = httpx.post(running.url, json=body).json()["result"]
    derive = deriver(JUNK, FIRST_ACCOUNT).derive
    derived = [derive(ChainKind.EVM, n).address for n in range(10)]
    assert [account.lower() for account in accounts] == [a.lower() for a in derived]


def test_wrong_words_are_refused_by_place_and_never_quoted() -> None:
    for words, why in (
        ("abandon " * 11 + "abandon", "checksum"),
        ("abandon abandon abuot " + "abandon " * 8 + "abuot", "word 3, 12"),
        ("abandon " * 14 + "about", "these are 15"),
        ("", "these are 0"),
    ):
        with pytest.raises(SeedError, match=why) as caught:
            seed_of(words)
        assert "abuot" not in str(caught.value)
        assert caught.value.__context__ is None


def test_case_and_spacing_of_typed_words_do_not_count() -> None:
    typed = "  Abandon\tABANDON " + "abandon\n" * 9 + " about "
    assert seed_of(typed).fingerprint() == seed_of(ABANDON).fingerprint()
    assert seed_of(ABANDON).fingerprint().startswith("73c5da0a")  # as every wallet shows it


def test_generated_seeds_have_twelve_or_twenty_four_words_and_never_repeat() -> None:
    assert len(Seed.generate(12).words().reveal().split()) == 12
    assert len({Seed.generate().words().reveal() for _ in range(50)}) == 50
    for count in (0, 11, 15, 18):
        with pytest.raises(SeedError):
            Seed.generate(count)
