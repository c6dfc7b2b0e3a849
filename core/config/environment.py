"""`BURSAR_SECTION__KEY` variables, laid over what the file says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.config.refusal import refuse

# BURSAR_* names that are not settings.
_RESERVED = re.compile(r"BURSAR_(CONFIG$|TEST_|ANVIL$|LOG$)")


# Short names, and the keys they stand for. The long names win.
_SHORT = {
    "LEDGER_PERSIST_INTERVAL_MS": ("ledger", "persist_interval"),
    "LEDGER_SNAPSHOT_PATH": ("ledger", "snapshot_path"),
    "TIGERBEETLE_CLUSTER_ID": ("ledger", "tigerbeetle", "cluster_id"),
    "TIGERBEETLE_REPLICAS": ("ledger", "tigerbeetle", "replicas"),
}


def overlay_short(tree: dict[str, Any], environ: Mapping[str, str]) -> list[str]:
    """Write the short names that are set into the tree; answers them."""
    used = []
    for name, steps in _SHORT.items():
        text = environ.get(name)
        if not text:
            continue
        node = tree
        for step in steps[:-1]:
            node = node.setdefault(step, {})
            if not isinstance(node, dict):
                refuse(f"${name}", "", f"`{step}` is a key, not a section")
        node[steps[-1]] = f"{text}ms" if name.endswith("_MS") else _value(text, list(steps))
        used.append(f"${name}")
    return used


def overlay_backup(tree: dict[str, Any], environ: Mapping[str, str]) -> list[str]:
    """The short names of backups: `WALLET_BACKUP_PATH` and `S3_BUCKET` (with `S3_REGION`) are
    destinations beside those of the file."""
    used = []
    places: list[dict[str, str]] = []
    if path := environ.get("WALLET_BACKUP_PATH"):
        used.append("$WALLET_BACKUP_PATH")
        places.append({"name": "local", "path": path})
    if bucket := environ.get("S3_BUCKET"):
        used.append("$S3_BUCKET")
        region = environ.get("S3_REGION") or environ.get("AWS_REGION") or "us-east-1"
        places.append({"name": "s3", "url": f"s3://{bucket}", "region": region})
    backup = tree.setdefault("backup", {}) if places else tree.get("backup", {})
    if not isinstance(backup, dict):
        return used  # its type is refused where the tree is converted
    known = backup.get("destination", [])
    if places and isinstance(known, list):
        if not known and not path:
            places.insert(0, {"name": "local"})  # S3_BUCKET comes beside the usual directory
        backup["destination"] = [*known, *places]
    return used


def overlay(tree: dict[str, Any], environ: Mapping[str, str]) -> list[str]:
    """Write `BURSAR_SECTION__KEY` variables into the tree; answers the names that were used.

    An entry of [[chain]] or [[backup.destination]] is named by its name, one of [[asset]] by
    chain and symbol (`BURSAR_CHAIN__BASE__ENDPOINTS`, `BURSAR_ASSET__BASE_USDC__FLOOR`).
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
                refuse(f"${name}", "", f"`{step}` is a key, not a section")
        if not isinstance(node, dict):
            refuse(f"${name}", "", "name the entry too, as in BURSAR_CHAIN__BASE__ENDPOINTS")
        node[steps[-1]] = _value(environ[name], steps)
        used.append(f"${name}")
    return used


def _entry(entries: list[Any], table: str, step: str, variable: str) -> dict[str, Any]:
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        label = _asset_label(entry) if table == "asset" else entry.get("name", "")
        if re.sub(r"[^a-z0-9]", "_", str(label).lower()) == step:
            return entry
    refuse(f"${variable}", "", f"no [[{table}]] entry is named `{step}`")


def _asset_label(entry: dict[str, Any]) -> str:
    return f"{entry.get('chain', '')}_{entry.get('symbol', '')}"


def _value(text: str, steps: list[str]) -> Any:
    """A list where the key holds a list (commas separate), else the text; numbers and booleans
    are converted by type later."""
    if steps[-1] in {"endpoints", "replicas", "tokens"}:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text
