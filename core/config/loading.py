"""Reading the settings: file, short names, environment; weakest first.

What comes out is frozen and complete; nothing else reads the environment. Addresses are checked
where the chains are known (`core.engine`), not here.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from core.config.checks import check
from core.config.environment import overlay, overlay_backup, overlay_short
from core.config.refusal import explain, refuse
from core.config.settings import ConfigError, Duration, Settings


def find_config(explicit: str | None, environ: Mapping[str, str]) -> Path | None:
    """The first of `--config`, `$BURSAR_CONFIG`, `./bursar.toml`, the XDG file. Raises
    ConfigError if one that was named does not exist."""
    for text, origin in ((explicit, "--config"), (environ.get("BURSAR_CONFIG"), "$BURSAR_CONFIG")):
        if text:
            path = Path(text).expanduser()
            if not path.is_file():
                raise ConfigError(f"{origin} names {path}, which is not a file.")
            return path
    for path in (Path("bursar.toml"), default_config(environ)):
        if path.is_file():
            return path
    return None


def default_config(environ: Mapping[str, str]) -> Path:
    """Where the user's own settings are looked for, there or not."""
    xdg = environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(xdg).expanduser() / "bursar" / "bursar.toml"


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
        refuse(origin, "", "unknown key `source`")
    overlaid = [
        *overlay_short(tree, environ),
        *overlay_backup(tree, environ),
        *overlay(tree, environ),
    ]
    settings = _convert(tree, origin if not overlaid else f"{origin} with {', '.join(overlaid)}")
    settings = msgspec.structs.replace(settings, source=str(path) if path else "")
    return check(settings, origin, environ)


def parse_settings(text: str, origin: str, environ: Mapping[str, str]) -> Settings:
    """The same for a text that is not a file (the demo's settings, `bursar init`'s template)."""
    return check(_convert(tomllib.loads(text), origin), origin, environ)


def _convert(tree: dict[str, Any], origin: str) -> Settings:
    try:
        return msgspec.convert(tree, Settings, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        explain(error, tree, origin)


def _decode(kind: type, value: object) -> object:
    if kind is Duration:
        if not isinstance(value, str):
            raise ValueError(f"write it with its unit, such as '{value}s'")
        return Duration.parse(value)
    raise NotImplementedError(kind.__name__)
