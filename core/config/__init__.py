"""Settings: one TOML file, the environment over it, and errors that name file, key and reason."""

from core.config.checks import EVM_DEFAULT, XRPL_DEFAULT
from core.config.loading import default_config, find_config, load_settings, parse_settings
from core.config.masking import mask_url, masked
from core.config.portable import hidden_in, portable, settings_text
from core.config.settings import (
    AlertSettings,
    AssetSettings,
    BackupSettings,
    ChainSettings,
    ConfigError,
    CustodySettings,
    DerivationSettings,
    DestinationSettings,
    Duration,
    HistorySettings,
    LedgerSettings,
    Settings,
    SettlementSettings,
    WalletSettings,
    WebhookSettings,
)

__all__ = [
    "EVM_DEFAULT",
    "XRPL_DEFAULT",
    "AlertSettings",
    "AssetSettings",
    "BackupSettings",
    "ChainSettings",
    "ConfigError",
    "CustodySettings",
    "DerivationSettings",
    "DestinationSettings",
    "Duration",
    "HistorySettings",
    "LedgerSettings",
    "Settings",
    "SettlementSettings",
    "WalletSettings",
    "WebhookSettings",
    "default_config",
    "find_config",
    "hidden_in",
    "load_settings",
    "mask_url",
    "masked",
    "parse_settings",
    "portable",
    "settings_text",
]
