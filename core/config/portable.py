"""The settings as they may leave this machine: what was set, without secrets and places of it.

Sections as plain data, for a backup, and as the text of a file again. What stands for a secret
(`${NAME}` in a URL) is kept as it is written; a secret itself becomes `***`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from core.config.masking import mask_url
from core.config.settings import Settings

HIDDEN = "***"
_OF_THIS_MACHINE = ("data_dir", "source")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def portable(settings: Settings) -> dict[str, Any]:
    """Section by section what differs from the defaults. Blocks: reads the settings' file again,
    for the names that stand in it instead of secrets."""
    written: dict[str, Any] = {}
    if settings.source:
        try:
            written = tomllib.loads(Path(settings.source).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            written = {}  # gone or changed since: then secrets are only masked
    tree: dict[str, Any] = _plain(settings)
    sections = {name: value for name, value in tree.items() if name not in _OF_THIS_MACHINE}
    return {n: _masked(v, written.get(n)) for n, v in sections.items() if v not in ({}, None)}


def hidden_in(sections: Mapping[str, Any], place: str = "") -> list[str]:
    """The keys whose values hold a secret that was left out, as dotted names."""
    found: list[str] = []
    for name, value in sections.items():
        entries = value if isinstance(value, list) else [value]
        for entry in entries:
            if isinstance(entry, dict):
                label = f"{place}{name}." + (f"{entry['name']}." if "name" in entry else "")
                found += hidden_in(entry, label)
            elif isinstance(entry, str) and HIDDEN in entry:
                found.append(f"{place}{name}")
    return found


def settings_text(sections: Mapping[str, Any]) -> str:
    """TOML that `load_settings` reads back as these sections."""
    lines: list[str] = []
    _write_table(lines, (), sections)
    return "\n".join(lines) + "\n"


def _plain(value: object) -> Any:
    """Structs as dictionaries of what is not at its default; strings, numbers and booleans."""
    if isinstance(value, msgspec.Struct):
        fields = {}
        for field in msgspec.structs.fields(type(value)):
            item = getattr(value, field.name)
            default = field.default
            if field.default_factory is not msgspec.NODEFAULT:
                default = field.default_factory()
            if item is not None and item != default:
                fields[field.encode_name] = _plain(item)
        return fields
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if type(value) in (bool, int, float):
        return value
    return str(value)


def _masked(value: Any, written: Any) -> Any:
    if isinstance(value, dict):
        beside = written if isinstance(written, dict) else {}
        return {name: _masked(item, beside.get(name)) for name, item in value.items()}
    if isinstance(value, list):
        beside_list = written if isinstance(written, list) and len(written) == len(value) else None
        return [
            _masked(item, beside_list[at] if beside_list else None) for at, item in enumerate(value)
        ]
    if isinstance(value, str) and "://" in value:
        return written if isinstance(written, str) and "${" in written else _hidden(value)
    return value


def _hidden(url: str) -> str:
    """The URL without credentials, and a mark where there were some."""
    scheme, _, rest = mask_url(url).partition("://")
    had_user = "@" in url.partition("://")[2].partition("/")[0]
    return f"{scheme}://{HIDDEN}@{rest}" if had_user else f"{scheme}://{rest}"


def _write_table(lines: list[str], path: tuple[str, ...], table: Mapping[str, Any]) -> None:
    later: list[tuple[str, Any]] = []
    for name, value in table.items():
        is_tables = isinstance(value, list) and value and isinstance(value[0], dict)
        if isinstance(value, dict) or is_tables:
            later.append((name, value))
        else:
            lines.append(f"{_key(name)} = {_value(value)}")
    for name, value in later:
        inside = (*path, name)
        dotted = ".".join(map(_key, inside))
        for entry in value if isinstance(value, list) else [value]:
            lines += ["", f"[[{dotted}]]" if isinstance(value, list) else f"[{dotted}]"]
            _write_table(lines, inside, entry)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return msgspec.json.encode(str(value)).decode().replace("\x7f", "\\u007f")
