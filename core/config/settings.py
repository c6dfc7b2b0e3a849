"""The shape of the settings: frozen sections, each key with its meaning under it.

Nothing here reads a file or the environment; see `loading`.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from core.model import BursarError, ChainKind

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


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


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file; an unknown key in it stops the start."""


class Polling(Section, frozen=True):
    """How often chains are read."""

    interval: Duration = Duration(30_000)
    """Time between two readings of a chain."""
    lease: Duration = Duration(120_000)
    """How long a worker may hold accounts before others take them over."""
    batch: int = 0
    """Accounts per claim; 0 takes the whole fleet of a chain at once."""
    push: bool = True
    """Let new heads wake a reading where an endpoint offers them (wss:// endpoints)."""


class ChainSettings(Section, frozen=True):
    """One chain and where it is asked."""

    name: str
    kind: ChainKind
    endpoints: tuple[str, ...] = ()
    """URLs in order of preference; `${NAME}` is replaced from the environment."""
    chain_id: int | None = None
    """EIP-155 id (network id on XRPL) the endpoints must state; learnt if left out."""
    requests_per_second: int = 0
    """Pacing per endpoint; 0 leaves it to what the endpoint says."""
    interval: Duration | None = None
    """Time between two readings of this chain, if not [polling] interval."""
    explorer: str = ""
    """URL of an address page with `{address}` in it, for `o` on the desk."""


class AssetLimits(Section, frozen=True):
    """Floor and target of one group or agent, as decimal amounts."""

    floor: str | None = None
    target: str | None = None


class AssetSettings(Section, frozen=True):
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


class Problems(Section, frozen=True):
    """When a row is loud."""

    runway: Duration = Duration(24 * 3_600_000)
    """A balance that reaches its floor sooner than this is a warning."""
    unread_intervals: int = 5
    """After so many intervals without a successful reading a balance is a problem."""
    lag_after: Duration = Duration(120_000)
    """A chain whose head stands still or is older than this lags (at least four intervals)."""


class HistorySettings(Section, frozen=True):
    """How long facts are kept."""

    keep: Duration = Duration(365 * 86_400_000)
    thin_after: Duration = Duration(30 * 86_400_000)
    """Older history keeps one row an hour per balance."""
    events: Duration = Duration(90 * 86_400_000)


class LogSettings(Section, frozen=True):
    """The log and the event lines under `data_dir/logs`."""

    level: str = "info"
    events: bool = True
    """Write every event as a JSON line to logs/events.jsonl."""
    rotate_bytes: int = 64 * 1024 * 1024
    keep_files: int = 5


class UiSettings(Section, frozen=True):
    """The desk."""

    environment: str = ""
    """Shown in the status bar; "production" gets a red frame."""
    theme: str = "bursar-dark"
    read_only: bool = False
    safe: bool = False
    mouse: bool = True
    bell: bool = True
    """Whether the terminal's bell rings when an alert that is a problem opens."""
    refresh: Duration = Duration(1000)
    """How often the display takes up changes (250ms to 5s)."""


class Thresholds(Section, frozen=True):
    """Settlement thresholds, most specific first: base units of the ledger token, or a share of
    the credit limit such as "80%". None at all: not monitored."""

    default: int | str | None = None
    peers: dict[str, int | str] = {}
    tokens: dict[str, dict[str, int | str]] = {}


class SettlementSettings(Section, frozen=True):
    """Identity of this node towards its peers, what asks for settlement, and who acts on it."""

    node_id: str = "bursar"
    thresholds: Thresholds = Thresholds()
    settle_to: int | str = 0
    """The level a settlement aims for; base units, or a share of the threshold."""
    rearm: int | str | None = None
    """At or below it the next crossing counts again; the threshold if left out."""
    direction: str = "receivable"
    """Which balances are held to thresholds: receivable, payable or both."""
    stuck_after: Duration = Duration(600_000)
    """A payment under way for longer raises an alert."""
    engine: str = "manual"
    """Who acts: "manual" (the operator) or "webhook" (a signed POST)."""
    webhook_url: str = ""
    webhook_secret_env: str = ""
    """Name of the environment variable that holds the webhook's signing secret."""


class ClusterSettings(Section, frozen=True):
    """A TigerBeetle cluster; both keys or none."""

    cluster_id: int | None = None
    replicas: tuple[str, ...] = ()


class LimitSettings(Section, frozen=True):
    """How much a peer may owe us, base units, most specific first; `ceiling` caps them all."""

    default: int | None = None
    peers: dict[str, int] = {}
    tokens: dict[str, dict[str, int]] = {}
    ceiling: int | None = None


class LedgerSettings(Section, frozen=True):
    """Accounting of off-chain packets."""

    tokens: tuple[str, ...] = ()
    """Units packets may be in; the order gives their ledger numbers and must not change."""
    limits: LimitSettings = LimitSettings()
    persist_interval: Duration = Duration(30_000)
    """How often a snapshot of the embedded ledger is considered."""
    snapshot_path: str = ""
    """A plain balance file: an empty ledger starts from it, and it is written at close."""
    tigerbeetle: ClusterSettings = ClusterSettings()


class ChainCustody(Section, frozen=True):
    """How one chain is reconciled, where it differs from the default."""

    policy: str | None = None
    finality: int | None = None


class CustodySettings(Section, frozen=True):
    """Chain against ledger."""

    policy: str = "observe"
    """"observe" books unexplained differences as seen; "strict" leaves them to an operator."""
    finality: int = 64
    """Blocks for which a difference is pending."""
    chains: dict[str, ChainCustody] = {}


class DerivationSettings(Section, frozen=True):
    """Paths of new addresses (BIP-32); `{index}` is the agent's number and stands last."""

    evm: str = "m/44'/60'/1'/0/{index}"
    xrpl: str = "m/44'/144'/1'/0/{index}"
    tron: str = "m/44'/195'/1'/0/{index}"

    def templates(self) -> dict[ChainKind, str]:
        """The same by kind of chain."""
        return {ChainKind.EVM: self.evm, ChainKind.XRPL: self.xrpl, ChainKind.TRON: self.tron}


class WalletSettings(Section, frozen=True):
    """Agents created from the seed, and the life of all."""

    auto_archive: bool = False
    """Archive agents that nothing moved for `inactivity_days`. An archive is for good."""
    inactivity_days: int = 90
    derivation: DerivationSettings = DerivationSettings()


class AlertSettings(Section, frozen=True):
    """One rule of the alerts; filters left out match everything."""

    rule: str
    """balance-below, balance-drop, runway, endpoint-down, chain-stale, chain-down,
    settlement-stuck, trial-balance or custody-unexplained."""
    name: str = ""
    """What the rule is called; the rule's own word if left out. Unique."""
    groups: tuple[str, ...] = ()
    chains: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    """Symbols; tokens for settlement-stuck."""
    level: str = ""
    """Where an alert opens: "floor" or a decimal amount, a share ("20%") or a duration."""
    clear: str = ""
    """Where it closes again: a share of the level ("110%") or what `level` is."""
    within: Duration | None = None
    """balance-drop: over which time, 1h or 24h (24h if left out)."""


class WebhookSettings(Section, frozen=True):
    """Where events are sent; nowhere without `url`. The secret is one of the two."""

    url: str = ""
    secret_env: str = ""
    """Name of the environment variable that holds the signing secret."""
    secret_file: str = ""
    """A file with the signing secret that only its owner can read."""
    events: str = "alerts"
    """Which events are sent: "alerts" or "all"."""


class DestinationSettings(Section, frozen=True):
    """A place for backups: either `path` or `url`. Credentials come from the environment."""

    name: str
    path: str = ""
    """A directory of this machine; its parent must exist."""
    url: str = ""
    """`s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`."""
    region: str = ""
    """s3 only; `$AWS_REGION` or us-east-1 if left out."""
    endpoint: str = ""
    """s3 only: the URL of a store that is not Amazon's."""
    sse_kms_key: str = ""
    """s3 only: the KMS key that the store encrypts with once more."""
    write_only: bool = False
    """The credential may only add objects: nothing is read back."""


class BackupSettings(Section, frozen=True):
    """When backups are made, where they go, and how long they stay."""

    full: str = "0 0 * * 0"
    """Cron expression of full backups."""
    incremental: str = "0 0 * * *"
    drill: str = "0 3 1 * *"
    """Cron expression of restore drills."""
    timezone: str = "UTC"
    """IANA name; the cron expressions are read in it."""
    jitter: Duration = Duration(300_000)
    """Spreads the installations that share a store over so much time after a slot."""
    require: str = "any"
    """How many destinations must have a backup for it to count: "any" or "all"."""
    keep_last: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    """Keep the newest of that many days, weeks and months; 0: no such rule."""
    keep_incrementals: Duration = Duration(30 * 86_400_000)
    keep_fulls: Duration = Duration(365 * 86_400_000)
    key_file: str = ""
    """The key ring; `data_dir/backup-key.json` if no key ring is named."""
    password_command: str = ""
    """A command that prints the key ring (no shell)."""
    destination: tuple[DestinationSettings, ...] = ()
    """None at all: the directory `data_dir/backups`."""


class Settings(Section, frozen=True):
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
    ledger: LedgerSettings = LedgerSettings()
    custody: CustodySettings = CustodySettings()
    wallets: WalletSettings = WalletSettings()
    alert: tuple[AlertSettings, ...] | None = None
    """Left out: the default rules; empty: none."""
    webhooks: WebhookSettings = WebhookSettings()
    backup: BackupSettings = BackupSettings()
    source: str = ""

    @property
    def data_path(self) -> Path:
        """The data directory with `~` resolved."""
        return Path(self.data_dir).expanduser()
