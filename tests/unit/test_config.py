"""Settings: what is accepted, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import (
    EVM_DEFAULT,
    XRPL_DEFAULT,
    ConfigError,
    Duration,
    Settings,
    find_config,
    load_settings,
    mask_url,
    masked,
    parse_settings,
)
from core.model import BursarError, ChainKind, parse_amount
from core.wallets.accounts import Template

GOOD = """
data_dir = "/var/lib/bursar"
[polling]
interval = "30s"
[[chain]]
name = "base"
kind = "evm"
endpoints = ["https://mainnet.base.org", "https://base.example/${TEST_KEY}"]
[[asset]]
chain = "base"
symbol = "ETH"
decimals = 18
[[asset]]
chain = "base"
symbol = "USDC"
contract = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
decimals = 6
floor = "50"
target = "200"
price = "1.00"
groups.trading.floor = "500"
groups.trading.target = "900"
[settlement]
node_id = "connector-a"
[settlement.thresholds]
default = 1000
[settlement.thresholds.peers]
trusted-peer = 5000000
[settlement.thresholds.tokens.high-value-peer]
BTC = 50
"""
ENVIRONMENT = {"TEST_KEY": "k3y"}


def load(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> Settings:
    path = tmp_path / "bursar.toml"
    path.write_text(text)
    return load_settings(str(path), ENVIRONMENT | (environment or {}))


def refusal(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, environment)
    return str(caught.value)


def test_the_documented_example_is_accepted(tmp_path: Path) -> None:
    settings = load(tmp_path, GOOD)
    assert settings.polling.interval == 30_000
    assert settings.chain[0].kind is ChainKind.EVM
    assert settings.chain[0].endpoints[1] == "https://base.example/k3y"
    assert settings.asset[1].groups["trading"].floor == "500"
    assert settings.settlement.thresholds.tokens == {"high-value-peer": {"BTC": 50}}
    assert settings.source == str(tmp_path / "bursar.toml")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('interval = "30s"', 'intervall = "30s"', "[polling]: unknown key `intervall` (did you"),
        ('interval = "30s"', "interval = 30", "[polling] interval: write it with its unit"),
        ('interval = "30s"', 'interval = "3 x"', "[polling] interval: '3 x' is not a duration"),
        ('interval = "30s"', 'interval = "10ms"', "[polling] interval: must be between"),
        ('interval = "30s"', 'interval = "5m"', "[polling] lease: must not be shorter"),
        ("data_dir", "data_dri", "unknown key `data_dri` (did you mean `data_dir`?)"),
        ("decimals = 6", 'decimals = "six"', "[[asset]] number 2 (USDC) decimals"),
        ("decimals = 6", "decimals = 78", "[[asset]] number 2 (USDC) decimals: must be between"),
        ("decimals = 6\n", "", "[[asset]] number 2 (USDC): the key `decimals` is missing"),
        ('floor = "50"', 'flor = "50"', "[[asset]] number 2 (USDC): unknown key `flor`"),
        ('floor = "50"', 'floor = "201"', "target: must not be below the floor"),
        ('floor = "50"', 'floor = "-1"', "floor: '-1' is not an amount"),
        ('floor = "50"', 'floor = "0.0000001"', "has more decimals than the asset (6)"),
        ('groups.trading.floor = "500"', 'groups.trading.floor = "901"', "groups.trading target"),
        ('price = "1.00"', 'price = "one"', "price: 'one' is not a decimal number"),
        ('kind = "evm"', 'kind = "evmx"', "[[chain]] number 1 (base) kind"),
        ('name = "base"', 'name = "ba/se"', "[[chain]] number 1 (ba/se) name: use letters"),
        ('chain = "base"\nsymbol = "ETH"', 'chain = "bse"\nsymbol = "ETH"', "no [[chain]] named"),
        ('symbol = "ETH"\ndecimals = 18', 'symbol = ""\ndecimals = 18', "symbol: must be 1 to 40"),
        ('"https://mainnet.base.org"', '"ftp://x"', "must start with http://"),
        ("${TEST_KEY}", "${OTHER_KEY}", "the environment variable OTHER_KEY is not set"),
        ("node_id", "nodeid", "[settlement]: unknown key `nodeid`"),
        ("[polling]", "source = 1\n[polling]", "unknown key `source`"),
        ("[polling]", "[polling", "not valid TOML"),
    ],
)
def test_a_mistake_is_named_by_file_key_and_reason(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    assert old in GOOD
    message = refusal(tmp_path, GOOD.replace(old, new, 1))
    assert message.startswith(str(tmp_path / "bursar.toml"))
    assert says in message


@pytest.mark.parametrize(
    "path",
    [
        "",
        "m",
        "m/{index}",
        "m/44/60/0/{index}",  # no account key could be kept: the index would be the seed's own
        "m/44'/60'/{index}'",
        "m/44'/{index}/0",
        "m/44'/{index}/{index}",
        "44'/60'/{index}",
        "m/44'//{index}",
        "m/2147483648'/{index}",
        "m/44'/60'/0'/0/i",
        "m/44'/60'/0'/0/{index} ",
    ],
)
def test_a_path_that_gives_no_addresses_without_the_seed_is_refused(
    tmp_path: Path, path: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, GOOD + f'[wallets.derivation]\nxrpl = "{path}"\n', ENVIRONMENT)
    assert "[wallets.derivation] xrpl" in str(refused.value)


@given(
    hardened=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5),
    public=st.lists(st.integers(0, 2**31 - 1), max_size=3),
)
def test_every_path_that_is_accepted_is_one_that_addresses_can_be_derived_by(
    hardened: list[int], public: list[int]
) -> None:
    steps = [f"{n}'" for n in hardened] + [str(n) for n in public]
    path = f"m/{'/'.join(steps)}/{{index}}"
    settings = parse_settings(f'[wallets.derivation]\ntron = "{path}"\n', "test", {})
    template = Template.parse(settings.wallets.derivation.templates()[ChainKind.TRON])
    assert (len(template.account), template.public) == (len(hardened), tuple(public))


def test_a_contract_given_twice_is_refused_and_so_are_two_native_coins(tmp_path: Path) -> None:
    twice = GOOD.replace("[settlement]", '[[asset]]\nchain="base"\nsymbol="X"\ndecimals=1\n'
                         "[settlement]", 1)  # fmt: skip
    assert "a native coin of chain `base` stands twice" not in refusal_or_empty(tmp_path, GOOD)
    assert "native coin" in refusal(tmp_path, twice)


def refusal_or_empty(tmp_path: Path, text: str) -> str:
    try:
        load(tmp_path, text)
    except ConfigError as error:
        return str(error)
    return ""


def test_the_environment_overrides_the_file_by_section_and_entry(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        GOOD,
        {
            "BURSAR_POLLING__INTERVAL": "10s",
            "BURSAR_UI__MOUSE": "false",
            "BURSAR_CHAIN__BASE__ENDPOINTS": "http://a, http://b",
            "BURSAR_ASSET__BASE_USDC__FLOOR": "7",
            "BURSAR_DATA_DIR": "/elsewhere",
            "BURSAR_CONFIG": "ignored: --config wins",
            "BURSAR_TEST_TIGERBEETLE": "no setting",
        },
    )
    assert settings.polling.interval == 10_000
    assert settings.ui.mouse is False
    assert settings.chain[0].endpoints == ("http://a", "http://b")
    assert settings.asset[1].floor == "7"
    assert str(settings.data_path) == "/elsewhere"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("BURSAR_POLLING__INTERVALL", "unknown key `intervall`"),
        ("BURSAR_FOO", "unknown key `foo`"),
        ("BURSAR_CHAIN__OTHER__ENDPOINTS", "no [[chain]] entry is named `other`"),
        ("BURSAR_CHAIN", "expected `array`"),
    ],
)
def test_a_misspelt_variable_is_named(tmp_path: Path, name: str, says: str) -> None:
    message = refusal(tmp_path, GOOD, {name: "1"})
    assert name in message
    assert says in message


def test_short_names_fill_in_the_one_chain_without_endpoints(tmp_path: Path) -> None:
    bare = '[[chain]]\nname = "e"\nkind = "evm"\n[[chain]]\nname = "x"\nkind = "xrpl"\n'
    plain = load(tmp_path, bare)
    assert plain.chain[0].endpoints == (EVM_DEFAULT,)
    assert plain.chain[1].endpoints == (XRPL_DEFAULT,)
    named = load(tmp_path, bare, {"EVM_RPC_URL": "http://e", "XRPL_RPC_URL": "ws://x"})
    assert named.chain[0].endpoints == ("http://e",)
    assert named.chain[1].endpoints == ("ws://x",)
    two = bare + '[[chain]]\nname = "f"\nkind = "evm"\n'
    assert "name at least one URL" in refusal(tmp_path, two)


def test_the_search_order_is_flag_variable_here_xdg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bursar").mkdir()
    xdg = tmp_path / "bursar" / "bursar.toml"
    xdg.write_text("")
    monkeypatch.chdir(tmp_path)
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert find_config(None, environment) == xdg
    (tmp_path / "bursar.toml").write_text("")
    assert find_config(None, environment) == Path("bursar.toml")
    other = tmp_path / "other.toml"
    other.write_text("")
    assert find_config(None, environment | {"BURSAR_CONFIG": str(other)}) == other
    assert find_config(str(xdg), environment | {"BURSAR_CONFIG": str(other)}) == xdg
    with pytest.raises(ConfigError, match="--config names"):
        find_config(str(tmp_path / "none.toml"), environment)


def test_doctor_never_prints_a_key(tmp_path: Path) -> None:
    secret = "s3cr3ts3cr3ts3cr3ts3cr3t"
    text = GOOD.replace("base.example/${TEST_KEY}", f"user:{secret}@h.example/v2/{secret}?k=abc")
    shown = str(masked(load(tmp_path, text)))
    assert secret not in shown
    assert "abc" not in shown
    assert mask_url("https://a/b") == "https://a/b"


@given(st.integers(min_value=0, max_value=10**9), st.sampled_from(["ms", "s", "m", "h", "d", "w"]))
def test_a_duration_survives_being_written_and_read(number: int, unit: str) -> None:
    duration = Duration.parse(f"{number}{unit}")
    assert Duration.parse(str(duration)) == duration


@given(st.integers(min_value=0, max_value=2**256), st.integers(min_value=0, max_value=77))
def test_a_decimal_amount_is_read_exactly(amount: int, decimals: int) -> None:
    digits = str(amount).rjust(decimals + 1, "0")
    text = f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits
    assert parse_amount(text, decimals) == amount


@pytest.mark.parametrize("text", ["", ".", "1.2.3", "1e5", "-1", "٣", "0x1", "1.-2", "nan"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(BursarError, match="not an amount"):
        parse_amount(text, 6)
