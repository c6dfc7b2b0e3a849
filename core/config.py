"""Settings: one TOML file, the environment over it, and errors that name file, key and reason.

Sources, weakest first: defaults, the file, short environment names (`EVM_RPC_URL`), then
`BURSAR_SECTION__KEY`. What comes out is frozen and complete; nothing else reads the
environment. Addresses are checked where the chains are known (`core.engine`), not here.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from core.model import BursarError, ChainKind, parse_amount

EVM_DEFAULT = "http://localhost:8545"
XRPL_DEFAULT = "wss://s.altnet.rippletest.net:51233"

# BURSAR_* names that are not settings.
_RESERVED = re.compile(r"BURSAR_(CONFIG$|TEST_|ANVIL$|LOG$)")
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_SCHEMES: dict[ChainKind, tuple[str, ...]] = {
    ChainKind.EVM: ("http://", "https://", "ws://", "wss://"),
    ChainKind.XRPL: ("ws://", "wss://"),
    ChainKind.TRON: ("http://", "https://"),
}
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")


class ConfigError(BursarError):
    """The settings cannot be used; the message names file or variable, key and reason."""


class Duration(int):
    """Milliseconds, written as `250ms`, `30s`, `5m`, `2h`, `30d` or `1w`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Raises ValueError with the accepted form."""
        found = re.fullmatch(r"\s*(\d+)\s*(ms|s|m|h|d|w)\s*", text)
        if found is None:
            raise ValueError(f"{text!r} is not a duration such as '30s', '5m', '2h' or '30d'")
        return cls(int(found[1]) * _UNITS_MS[found[2]])

    def __str__(self) -> str:
        for unit in ("w", "d", "h", "m", "s"):
            if self and self % _UNITS_MS[unit] == 0:
                return f"{int(self) // _UNITS_MS[unit]}{unit}"
        return f"{int(self)}ms"


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file; an unknown key in it stops the start."""


class Polling(_Section, frozen=True):
    """How often chains are read."""

    interval: Duration = Duration(30_000)
    """Time between two readings of a chain."""
    lease: Duration = Duration(120_000)
    """How long a worker may hold accounts before others take them over."""
    batch: int = 0
    """Accounts per claim; 0 takes the whole fleet of a chain at once."""
    push: bool = True
    """Let new heads wake a reading where an endpoint offers them (wss:// endpoints)."""


class ChainSettings(_Section, frozen=True):
    """One chain and where it is asked."""

    name: str
    kind: ChainKind
    endpoints: tuple[str, ...] = ()
    """URLs in order of preference; `${NAME}` is replaced from the environment."""
    chain_id: int | None = None
    """EIP-155 id the endpoints must state; learnt from the first one if left out."""
    requests_per_second: int = 0
    """Pacing per endpoint; 0 leaves it to what the endpoint says."""
    interval: Duration | None = None
    """Time between two readings of this chain, if not [polling] interval."""
    explorer: str = ""
    """URL of an address page with `{address}` in it, for `o` on the desk."""


class AssetLimits(_Section, frozen=True):
    """Floor and target of one group or agent, as decimal amounts."""

    floor: str | None = None
    target: str | None = None


class AssetSettings(_Section, frozen=True):
    """One token on one chain; without `contract` it is the chain's native coin."""

    chain: str
    symbol: str
    decimals: int
    name: str = ""
    contract: str | None = None
    floor: str | None = None
    """Decimal amount; below it an agent is a problem."""
    target: str | None = None
    """Decimal amount that a top-up brings an agent to."""
    price: str | None = None
    """Fixed unit price for one total on the desk, marked as configured."""
    groups: dict[str, AssetLimits] = {}
    agents: dict[str, AssetLimits] = {}


class Problems(_Section, frozen=True):
    """When a row is loud."""

    runway: Duration = Duration(24 * 3_600_000)
    """A balance that reaches its floor sooner than this is a warning."""
    unread_intervals: int = 5
    """After so many intervals without a successful reading a balance is a problem."""
    lag_after: Duration = Duration(120_000)
    """A chain whose head stands still or is older than this lags (at least four intervals)."""


class HistorySettings(_Section, frozen=True):
    """How long facts are kept."""

    keep: Duration = Duration(365 * 86_400_000)
    thin_after: Duration = Duration(30 * 86_400_000)
    """Older history keeps one row an hour per balance."""
    events: Duration = Duration(90 * 86_400_000)


class LogSettings(_Section, frozen=True):
    """The log and the event lines under `data_dir/logs`."""

    level: str = "info"
    events: bool = True
    """Write every event as a JSON line to logs/events.jsonl."""
    rotate_bytes: int = 64 * 1024 * 1024
    keep_files: int = 5


class UiSettings(_Section, frozen=True):
    """The desk."""

    environment: str = ""
    """Shown in the status bar; "production" gets a red frame."""
    theme: str = "bursar-dark"
    read_only: bool = False
    safe: bool = False
    mouse: bool = True
    refresh: Duration = Duration(1000)
    """How often the display takes up changes (250ms to 5s)."""


class Thresholds(_Section, frozen=True):
    """Settlement thresholds in base units of the ledger token, most specific first."""

    default: int | None = None
    peers: dict[str, int] = {}
    tokens: dict[str, dict[str, int]] = {}


class SettlementSettings(_Section, frozen=True):
    """Identity of this node towards its peers, and what asks for settlement."""

    node_id: str = "bursar"
    thresholds: Thresholds = Thresholds()


class Settings(_Section, frozen=True):
    """The effective settings. `source` is the file they came from, "" without one."""

    data_dir: str = "~/.local/share/bursar"
    polling: Polling = Polling()
    chain: tuple[ChainSettings, ...] = ()
    asset: tuple[AssetSettings, ...] = ()
    problems: Problems = Problems()
    history: HistorySettings = HistorySettings()
    log: LogSettings = LogSettings()
    ui: UiSettings = UiSettings()
    keys: dict[str, str] = {}
    settlement: SettlementSettings = SettlementSettings()
    source: str = ""

    @property
    def data_path(self) -> Path:
        """The data directory with `~` resolved."""
        return Path(self.data_dir).expanduser()


def find_config(explicit: str | None, environ: Mapping[str, str]) -> Path | None:
    """The first of `--config`, `$BURSAR_CONFIG`, `./bursar.toml`, the XDG file. Raises
    ConfigError if one that was named does not exist."""
    for text, origin in ((explicit, "--config"), (environ.get("BURSAR_CONFIG"), "$BURSAR_CONFIG")):
        if text:
            path = Path(text).expanduser()
            if not path.is_file():
                raise ConfigError(f"{origin} names {path}, which is not a file.")
            return path
    xdg = environ.get("XDG_CONFIG_HOME") or "~/.config"
    for path in (Path("bursar.toml"), Path(xdg).expanduser() / "bursar" / "bursar.toml"):
        if path.is_file():
            return path
    return None


def load_settings(explicit: str | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read and check everything. Raises ConfigError; the message can be shown as it is."""
    path = find_config(explicit, environ)
    tree: dict[str, Any] = {}
    origin = "the environment"
    if path is not None:
        origin = str(path)
        try:
            tree = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path}: not valid TOML: {error}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from error
    if "source" in tree:
        _refuse(origin, "", "unknown key `source`")
    overlaid = _overlay(tree, environ)
    settings = _convert(tree, origin if not overlaid else f"{origin} with {', '.join(overlaid)}")
    settings = msgspec.structs.replace(settings, source=str(path) if path else "")
    return _check(settings, origin, environ)


def parse_settings(text: str, origin: str, environ: Mapping[str, str]) -> Settings:
    """The same for a text that is not a file (the demo's settings, `bursar init`'s template)."""
    return _check(_convert(tomllib.loads(text), origin), origin, environ)


def masked(settings: Settings) -> dict[str, Any]:
    """The effective settings as plain data, endpoints without credentials, for `doctor`."""
    built: dict[str, Any] = msgspec.to_builtins(settings, enc_hook=_plain)
    for chain in built["chain"]:
        chain["endpoints"] = [mask_url(url) for url in chain["endpoints"]]
    return built


def mask_url(url: str) -> str:
    """The URL with user info, query values and key-like path segments replaced by `***`."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    authority, slash, path = rest.partition("/")
    authority = authority.rpartition("@")[2]
    path, question, query = path.partition("?")
    segments = ["***" if _looks_secret(part) else part for part in path.split("/")]
    if question:
        query = "&".join(f"{pair.partition('=')[0]}=***" for pair in query.split("&"))
    return f"{scheme}://{authority}{slash}{'/'.join(segments)}{question}{query}"


def _looks_secret(segment: str) -> bool:
    return len(segment) >= 16 and re.fullmatch(r"[A-Za-z0-9_.~%-]+", segment) is not None


def _plain(value: object) -> str:
    return str(value)


# --- reading -------------------------------------------------------------------------------


def _convert(tree: dict[str, Any], origin: str) -> Settings:
    try:
        return msgspec.convert(tree, Settings, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        _explain(error, tree, origin)


def _decode(kind: type, value: object) -> object:
    if kind is Duration:
        if not isinstance(value, str):
            raise ValueError(f"write it with its unit, such as '{value}s'")
        return Duration.parse(value)
    raise NotImplementedError(kind.__name__)


def _explain(error: msgspec.ValidationError, tree: dict[str, Any], origin: str) -> NoReturn:
    """Turn msgspec's path `$.polling` or `$.asset[1].decimals` into the operator's words."""
    text, _, path = str(error).partition(" - at `$")
    path = path.rstrip("`").lstrip(".")
    unknown = re.search(r"unknown field `([^`]*)`", text)
    if unknown:
        known = _fields_at(path)
        near = difflib.get_close_matches(unknown[1], known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}"
        _refuse(origin, _spell(path, tree), f"unknown key `{unknown[1]}` ({hint})")
    missing = re.search(r"missing required field `([^`]*)`", text)
    if missing:
        _refuse(origin, _spell(path, tree), f"the key `{missing[1]}` is missing")
    _refuse(origin, _spell(path, tree), text[:1].lower() + text[1:])


def _fields_at(path: str) -> list[str]:
    """The keys that a table accepts, by msgspec's path to it."""
    kind: Any = Settings
    for step in re.findall(r"[A-Za-z_]+|\[\.\.\.\]|\[\d+\]", path):
        if step.startswith("["):
            continue
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        kind = fields.get(step)
        for inner in getattr(kind, "__args__", ()):
            if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                kind = inner
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            return []
    return [f.encode_name for f in msgspec.structs.fields(kind) if f.encode_name != "source"]


def _spell(path: str, tree: dict[str, Any]) -> str:
    """`asset[1].decimals` as `[[asset]] number 2 (USDC) decimals`; `polling.interval` as
    `[polling] interval`."""
    indexed = re.match(r"(chain|asset)\[(\d+)\]\.?(.*)", path)
    if indexed:
        table, index, rest = indexed[1], int(indexed[2]), indexed[3]
        entry = tree.get(table, [])[index]
        label = entry.get("symbol") or entry.get("name") if isinstance(entry, dict) else None
        return f"[[{table}]] number {index + 1}{f' ({label})' if label else ''} {rest}".rstrip()
    head, dot, rest = path.partition(".")
    if dot:
        return f"[{head}] {rest}"
    fields = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    kind = fields.get(path)
    is_table = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return f"[{path}]" if is_table else path


def _refuse(origin: str, where: str, reason: str) -> NoReturn:
    raise ConfigError(f"{origin}: {where}{': ' if where else ''}{reason}.")


# --- the environment -----------------------------------------------------------------------


def _overlay(tree: dict[str, Any], environ: Mapping[str, str]) -> list[str]:
    """Write `BURSAR_SECTION__KEY` variables into the tree; answers the names that were used.

    An entry of [[chain]] is named by its name, one of [[asset]] by chain and symbol
    (`BURSAR_CHAIN__BASE__ENDPOINTS`, `BURSAR_ASSET__BASE_USDC__FLOOR`).
    """
    used = []
    for name in sorted(environ):
        if not name.startswith("BURSAR_") or _RESERVED.match(name):
            continue
        steps = [step.lower() for step in name.removeprefix("BURSAR_").split("__")]
        node: Any = tree
        for depth, step in enumerate(steps[:-1]):
            if isinstance(node, dict) and depth == 0:
                node = node.setdefault(step, {})
            elif isinstance(node, list):
                node = _entry(node, steps[0], step, name)
            elif isinstance(node, dict):
                node = node.setdefault(step, {})
            if not isinstance(node, dict | list):
                _refuse(f"${name}", "", f"`{step}` is a key, not a section")
        if not isinstance(node, dict):
            _refuse(f"${name}", "", "name the entry too, as in BURSAR_CHAIN__BASE__ENDPOINTS")
        node[steps[-1]] = _value(environ[name], steps)
        used.append(f"${name}")
    return used


def _entry(entries: list[Any], table: str, step: str, variable: str) -> dict[str, Any]:
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        label = entry.get("name", "") if table == "chain" else _asset_label(entry)
        if re.sub(r"[^a-z0-9]", "_", str(label).lower()) == step:
            return entry
    _refuse(f"${variable}", "", f"no [[{table}]] entry is named `{step}`")


def _asset_label(entry: dict[str, Any]) -> str:
    return f"{entry.get('chain', '')}_{entry.get('symbol', '')}"


def _value(text: str, steps: list[str]) -> Any:
    """A list where the key holds a list (commas separate), else the text; numbers and booleans
    are converted by type later."""
    if steps[-1] == "endpoints":
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


# --- checks that need more than a type -----------------------------------------------------


def _check(settings: Settings, origin: str, environ: Mapping[str, str]) -> Settings:
    polling = settings.polling
    if not 1000 <= polling.interval <= 86_400_000:
        _refuse(origin, "[polling] interval", "must be between 1s and 1d")
    if polling.lease < polling.interval:
        _refuse(origin, "[polling] lease", "must not be shorter than interval")
    if polling.batch < 0:
        _refuse(origin, "[polling] batch", "must be 0 (the whole fleet) or more")
    if not 250 <= settings.ui.refresh <= 5000:
        _refuse(origin, "[ui] refresh", "must be between 250ms and 5s")
    if settings.history.thin_after > settings.history.keep:
        _refuse(origin, "[history] thin_after", "must not be longer than keep")
    if settings.problems.unread_intervals < 2:
        _refuse(origin, "[problems] unread_intervals", "must be 2 or more")
    if settings.log.level.lower() not in {"debug", "info", "warning", "error"}:
        _refuse(origin, "[log] level", "must be debug, info, warning or error")
    chains = _check_chains(settings, origin, environ)
    _check_assets(settings, origin)
    return msgspec.structs.replace(settings, chain=chains)


def _check_chains(
    settings: Settings, origin: str, environ: Mapping[str, str]
) -> tuple[ChainSettings, ...]:
    names: set[str] = set()
    checked = []
    for number, chain in enumerate(settings.chain, start=1):
        where = f"[[chain]] number {number} ({chain.name})"
        if not _PLAIN_NAME.match(chain.name):
            _refuse(origin, f"{where} name", "use letters, digits, '.', '_' and '-'")
        if chain.name in names:
            _refuse(origin, f"{where} name", "stands twice")
        names.add(chain.name)
        if chain.requests_per_second < 0:
            _refuse(origin, f"{where} requests_per_second", "must be 0 or more")
        if chain.interval is not None and not 1000 <= chain.interval <= settings.polling.lease:
            _refuse(origin, f"{where} interval", "must be between 1s and [polling] lease")
        urls = chain.endpoints or _default_endpoints(settings, chain, origin, where, environ)
        expanded = tuple(_expand(url, origin, f"{where} endpoints", environ) for url in urls)
        allowed = _SCHEMES[chain.kind]
        for url in expanded:
            if not url.startswith(allowed):
                _refuse(
                    origin,
                    f"{where} endpoints",
                    f"{mask_url(url)} must start with {' or '.join(allowed)}",
                )
        checked.append(msgspec.structs.replace(chain, endpoints=expanded))
    return tuple(checked)


def _default_endpoints(
    settings: Settings,
    chain: ChainSettings,
    origin: str,
    where: str,
    environ: Mapping[str, str],
) -> tuple[str, ...]:
    """EVM_RPC_URL or XRPL_RPC_URL, for the one chain of that kind that names no endpoints."""
    bare = [c for c in settings.chain if c.kind is chain.kind and not c.endpoints]
    if chain.kind is ChainKind.TRON or len(bare) > 1:
        _refuse(origin, f"{where} endpoints", "name at least one URL")
    if chain.kind is ChainKind.EVM:
        return (environ.get("EVM_RPC_URL") or EVM_DEFAULT,)
    return (environ.get("XRPL_RPC_URL") or XRPL_DEFAULT,)


def _expand(url: str, origin: str, where: str, environ: Mapping[str, str]) -> str:
    def replace(found: re.Match[str]) -> str:
        value = environ.get(found[1])
        if not value:
            _refuse(origin, where, f"the environment variable {found[1]} is not set")
        return value

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", replace, url)


def _check_assets(settings: Settings, origin: str) -> None:
    chains = {chain.name for chain in settings.chain}
    seen: set[tuple[str, str]] = set()
    for number, asset in enumerate(settings.asset, start=1):
        where = f"[[asset]] number {number} ({asset.symbol})"
        if asset.chain not in chains:
            _refuse(origin, f"{where} chain", f"there is no [[chain]] named `{asset.chain}`")
        if not asset.symbol or len(asset.symbol) > 40 or not asset.symbol.isprintable():
            _refuse(origin, f"{where} symbol", "must be 1 to 40 printable characters")
        if not 0 <= asset.decimals <= 77:
            _refuse(origin, f"{where} decimals", "must be between 0 and 77")
        identity = (asset.chain, (asset.contract or "").lower() and _identity(asset))
        if identity in seen:
            what = f"contract {asset.contract}" if asset.contract else "a native coin"
            _refuse(origin, where, f"{what} of chain `{asset.chain}` stands twice")
        seen.add(identity)
        scopes = [("", asset.floor, asset.target)]
        scopes += [(f" groups.{k}", v.floor, v.target) for k, v in asset.groups.items()]
        scopes += [(f" agents.{k}", v.floor, v.target) for k, v in asset.agents.items()]
        for scope, floor, target in scopes:
            amounts = {}
            for key, text in (("floor", floor), ("target", target)):
                if text is None:
                    continue
                try:
                    amounts[key] = parse_amount(text, asset.decimals)
                except BursarError as error:
                    _refuse(origin, f"{where}{scope} {key}", str(error).rstrip("."))
            if len(amounts) == 2 and amounts["target"] < amounts["floor"]:
                _refuse(origin, f"{where}{scope} target", "must not be below the floor")
        if asset.price is not None and not re.fullmatch(r"\d+(\.\d+)?", asset.price):
            _refuse(origin, f"{where} price", f"{asset.price!r} is not a decimal number")


def _identity(asset: AssetSettings) -> str:
    """XRPL issued currencies share an issuer, so the currency belongs to what is unique."""
    return f"{(asset.contract or '').lower()}/{asset.symbol}"
