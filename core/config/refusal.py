"""How settings are refused: where, which key, why; and msgspec's words in the operator's."""

from __future__ import annotations

import difflib
import re
from typing import Any, NoReturn

import msgspec

from core.config.settings import ConfigError, Settings


def refuse(origin: str, where: str, reason: str) -> NoReturn:
    raise ConfigError(f"{origin}: {where}{': ' if where else ''}{reason}.")


def explain(error: msgspec.ValidationError, tree: dict[str, Any], origin: str) -> NoReturn:
    """Turn msgspec's path `$.polling` or `$.asset[1].decimals` into the operator's words."""
    text, _, path = str(error).partition(" - at `$")
    path = path.rstrip("`").lstrip(".")
    unknown = re.search(r"unknown field `([^`]*)`", text)
    if unknown:
        known = _fields_at(path)
        near = difflib.get_close_matches(unknown[1], known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}"
        refuse(origin, _spell(path, tree), f"unknown key `{unknown[1]}` ({hint})")
    missing = re.search(r"missing required field `([^`]*)`", text)
    if missing:
        refuse(origin, _spell(path, tree), f"the key `{missing[1]}` is missing")
    refuse(origin, _spell(path, tree), text[:1].lower() + text[1:])


def _fields_at(path: str) -> list[str]:
    """The keys that a table accepts, by msgspec's path to it."""
    kind: Any = Settings
    for step in re.findall(r"[A-Za-z_]+|\[\.\.\.\]|\[\d+\]", path):
        if step.startswith("["):
            continue
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        kind = fields.get(step)
        parts = getattr(kind, "__args__", ())
        for inner in (*parts, *(deep for part in parts for deep in getattr(part, "__args__", ()))):
            if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                kind = inner
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            return []
    return [f.encode_name for f in msgspec.structs.fields(kind) if f.encode_name != "source"]


def _spell(path: str, tree: dict[str, Any]) -> str:
    """`asset[1].decimals` as `[[asset]] number 2 (USDC) decimals`; `polling.interval` as
    `[polling] interval`."""
    indexed = re.match(r"(chain|asset|alert|backup\.destination)\[(\d+)\]\.?(.*)", path)
    if indexed:
        table, index, rest = indexed[1], int(indexed[2]), indexed[3]
        entries: Any = tree
        for step in table.split("."):
            entries = entries.get(step, [])
        entry = entries[index]
        named = (entry.get(key) for key in ("symbol", "name", "rule") if isinstance(entry, dict))
        label = next(filter(None, named), None)
        return f"[[{table}]] number {index + 1}{f' ({label})' if label else ''} {rest}".rstrip()
    head, dot, rest = path.partition(".")
    if dot:
        return f"[{head}] {rest}"
    fields = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    kind = fields.get(path)
    is_table = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return f"[{path}]" if is_table else path
