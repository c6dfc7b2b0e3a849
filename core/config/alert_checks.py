"""The words of [[alert]] and [webhooks]: which levels a rule takes, and how they are refused.

A level is text that its rule reads: percent, duration or decimal amount. What a rule means is in
`core.alerts`; here it is only parsed and held to its range, so that a wrong one stops the start.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from core.config.refusal import refuse
from core.config.settings import AlertSettings, AssetSettings, Duration, Settings
from core.model import BursarError, parse_amount

FLOOR = "floor"
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


class RuleForm(msgspec.Struct, frozen=True):
    """What a rule takes. `form` is "", "amount", "percent" or "duration"; `level` and `clear`
    are the defaults ("": must be given). `rising`: it opens above its level and clears below."""

    form: str = ""
    level: str = ""
    clear: str = ""
    rising: bool = False
    filters: frozenset[str] = frozenset()


_WALLET = frozenset({"groups", "chains", "assets"})
RULE_FORMS: dict[str, RuleForm] = {
    "balance-below": RuleForm("amount", FLOOR, "110%", filters=_WALLET),
    "balance-drop": RuleForm("percent", "", "", rising=True, filters=_WALLET),
    "runway": RuleForm("duration", "24h", "", filters=_WALLET),
    "endpoint-down": RuleForm("percent", "50%", "10%", rising=True, filters=frozenset({"chains"})),
    "chain-stale": RuleForm(filters=frozenset({"chains"})),
    "chain-down": RuleForm(filters=frozenset({"chains"})),
    "settlement-stuck": RuleForm(filters=frozenset({"assets"})),
    "trial-balance": RuleForm(),
    "custody-unexplained": RuleForm(filters=_WALLET),
    "backup-overdue": RuleForm("duration", "8d", "", rising=True),
    "drill-overdue": RuleForm("duration", "40d", "", rising=True),
}


def parse_percent(text: str) -> int:
    """`25%` as 25. Raises ValueError."""
    found = re.fullmatch(r"\s*([0-9]{1,9})\s*%\s*", text)
    if found is None:
        raise ValueError(f"{text!r} is not a share such as '20%'")
    return int(found[1])


def check_alerts(settings: Settings, origin: str) -> None:
    """Raises ConfigError for the first [[alert]] that cannot be used."""
    names: set[str] = set()
    for number, alert in enumerate(settings.alert or (), start=1):
        name = alert.name or alert.rule
        where = f"[[alert]] number {number} ({name})"
        form = RULE_FORMS.get(alert.rule)
        if form is None:
            refuse(origin, f"{where} rule", f"must be one of {', '.join(RULE_FORMS)}")
        if len(name) > 60 or not name.isprintable() or name != name.strip():
            refuse(origin, f"{where} name", "must be 1 to 60 printable characters")
        if name in names:
            refuse(origin, where, "stands twice; give each rule a `name` of its own")
        names.add(name)
        _check_filters(settings, alert, form, origin, where)
        if not form.form:
            for key, text in (("level", alert.level), ("clear", alert.clear)):
                if text:
                    refuse(origin, f"{where} {key}", f"{alert.rule} has no level")
        if alert.within is not None:
            if alert.rule != "balance-drop":
                refuse(origin, f"{where} within", "belongs to balance-drop")
            if alert.within not in {HOUR_MS, DAY_MS}:
                refuse(origin, f"{where} within", "must be 1h or 24h")
        if form.form and not (alert.level or form.level):
            refuse(origin, f"{where} level", "is missing")
        if form.form == "amount":
            _check_amounts(settings, alert, form, origin, where)
        elif form.form:
            _check_scale(alert, form, origin, where)


def _check_filters(
    settings: Settings, alert: AlertSettings, form: RuleForm, origin: str, where: str
) -> None:
    for key in ("groups", "chains", "assets"):
        if getattr(alert, key) and key not in form.filters:
            refuse(origin, f"{where} {key}", f"{alert.rule} cannot be narrowed by {key}")
    known = {chain.name for chain in settings.chain}
    for chain in alert.chains:
        if chain not in known:
            refuse(origin, f"{where} chains", f"there is no [[chain]] named `{chain}`")


def _check_scale(alert: AlertSettings, form: RuleForm, origin: str, where: str) -> None:
    parse = parse_percent if form.form == "percent" else Duration.parse
    values: dict[str, int] = {}
    for key, text in (("level", alert.level or form.level), ("clear", alert.clear or form.clear)):
        if not text:
            continue
        try:
            values[key] = int(parse(text))
        except ValueError as error:
            refuse(origin, f"{where} {key}", str(error))
    level = values["level"]
    lowest, highest = (1, 100) if form.form == "percent" else (1000, Duration.parse("520w"))
    if not lowest <= level <= highest:
        limit = "between 1% and 100%" if form.form == "percent" else "1s to 520w"
        refuse(origin, f"{where} level", f"must be {limit}")
    clear = values.get("clear", level)
    if not alert.clear:
        return  # a default never stands on the wrong side: see `core.alerts.configured`
    if form.rising and clear > level:
        refuse(origin, f"{where} clear", "must not be above level")
    if not form.rising and clear < level:
        refuse(origin, f"{where} clear", "must not be below level")


def _check_amounts(
    settings: Settings, alert: AlertSettings, form: RuleForm, origin: str, where: str
) -> None:
    level, clear = alert.level or form.level, alert.clear or form.clear
    if level == FLOOR:
        if "%" not in clear:
            refuse(origin, f"{where} clear", "must be a share of the floor such as '110%'")
    elif not alert.assets:
        refuse(origin, f"{where} assets", "name the assets that the amount is meant in")
    if "%" in clear:
        try:
            share = parse_percent(clear)
        except ValueError as error:
            refuse(origin, f"{where} clear", str(error))
        if share < 100:
            refuse(origin, f"{where} clear", "must be 100% of the level or more")
    if level == FLOOR:
        return
    for asset in _meant(settings, alert):
        values: dict[str, int] = {}
        for key, text in (("level", level), ("clear", clear)):
            if "%" in text and key == "clear":
                continue
            try:
                values[key] = parse_amount(text, asset.decimals)
            except BursarError as error:
                refuse(origin, f"{where} {key}", f"{asset.symbol}: {str(error).rstrip('.')}")
        if values["level"] <= 0:
            refuse(origin, f"{where} level", "must be more than 0")
        if values.get("clear", values["level"]) < values["level"]:
            refuse(origin, f"{where} clear", "must not be below level")


def _meant(settings: Settings, alert: AlertSettings) -> Iterator[AssetSettings]:
    wanted = {symbol.casefold() for symbol in alert.assets}
    for asset in settings.asset:
        if asset.symbol.casefold() in wanted and (not alert.chains or asset.chain in alert.chains):
            yield asset


def check_webhooks(settings: Settings, origin: str, environ: Mapping[str, str]) -> None:
    """Raises ConfigError where a webhook is configured and cannot be signed or reached."""
    hook = settings.webhooks
    if hook.events not in {"alerts", "all"}:
        refuse(origin, "[webhooks] events", 'must be "alerts" or "all"')
    if not hook.url:
        if hook.secret_env or hook.secret_file:
            refuse(origin, "[webhooks] url", "is missing")
        return
    if not hook.url.startswith(("https://", "http://")):
        refuse(origin, "[webhooks] url", "must be an http:// or https:// URL")
    if bool(hook.secret_env) == bool(hook.secret_file):
        refuse(origin, "[webhooks] secret_env", "give either secret_env or secret_file")
    if hook.secret_env and not environ.get(hook.secret_env):
        refuse(
            origin,
            "[webhooks] secret_env",
            "must name an environment variable that holds the signing secret",
        )
