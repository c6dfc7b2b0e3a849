"""[[alert]] and [webhooks]: what they become, and how they are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.alerts import RuleKind, configured_rules, webhook_secret
from core.config import ConfigError, Settings, WebhookSettings, masked, parse_settings
from core.config.alert_checks import RULE_FORMS

FLEET = """
[[chain]]
name = "base"
kind = "evm"
endpoints = ["http://localhost:1"]
[[asset]]
chain = "base"
symbol = "USDC"
decimals = 2
"""


def read(text: str, **environ: str) -> Settings:
    return parse_settings(FLEET + text, "bursar.toml", environ)


def test_every_kind_has_its_words_in_the_settings() -> None:
    assert set(RULE_FORMS) == {kind.value for kind in RuleKind}


def test_without_any_rule_the_defaults_hold_and_an_empty_list_means_none() -> None:
    rules = {rule.name: rule for rule in configured_rules(read('[problems]\nrunway = "8h"'))}
    assert set(rules) == {kind.value for kind in RuleKind} - {"balance-drop"}
    low, runway, down = rules["balance-below"], rules["runway"], rules["endpoint-down"]
    assert (low.amount, low.clear, low.clear_amount) == ("", 110, "")
    assert (runway.level, runway.clear) == (8 * 3600, 10 * 3600)
    assert (down.level, down.clear) == (50, 10)
    backup, drill, day = rules["backup-overdue"], rules["drill-overdue"], 86_400
    assert (backup.level, backup.clear) == (8 * day, 4 * day)
    assert (drill.level, drill.clear) == (40 * day, 20 * day)
    assert configured_rules(parse_settings("alert = []", "x", {})) == ()


def test_rules_become_numbers() -> None:
    settings = read(
        """
        [[alert]]
        rule = "balance-below"
        name = "hot"
        groups = ["hot"]
        chains = ["base"]
        assets = ["USDC"]
        level = "100"
        clear = "120.5"
        [[alert]]
        rule = "balance-drop"
        level = "30%"
        within = "1h"
        [[alert]]
        rule = "runway"
        level = "4h"
        clear = "6h"
        [[alert]]
        rule = "endpoint-down"
        level = "5%"
        [[alert]]
        rule = "backup-overdue"
        level = "2d"
        clear = "1d"
        """
    )
    hot, drop, runway, down, backup = configured_rules(settings)
    assert (hot.name, hot.amount, hot.clear_amount) == ("hot", "100", "120.5")
    assert [*hot.groups, *hot.chains, *hot.assets] == ["hot", "base", "usdc"]
    assert (drop.level, drop.clear, drop.within_ms) == (30, 15, 3_600_000)
    assert (runway.level, runway.clear) == (4 * 3600, 6 * 3600)
    assert (down.level, down.clear) == (5, 5)  # a default never stands on the wrong side
    assert (backup.level, backup.clear) == (2 * 86_400, 86_400)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ('rule = "backup-late"', "rule: must be one of balance-below, "),
        ('rule = "runway"\nlevels = "4h"', "number 1 (runway): unknown key `levels` (did you mean"),
        ('rule = "runway"\nlevel = "4"', "level: '4' is not a duration"),
        ('rule = "runway"\nlevel = "10ms"', "level: must be 1s to 520w"),
        ('rule = "runway"\nlevel = "4h"\nclear = "3h"', "clear: must not be below level"),
        ('rule = "balance-drop"', "level: is missing"),
        ('rule = "balance-drop"\nlevel = "0%"', "level: must be between 1% and 100%"),
        ('rule = "balance-drop"\nlevel = "101%"', "level: must be between 1% and 100%"),
        ('rule = "balance-drop"\nlevel = "20"', "level: '20' is not a share"),
        ('rule = "balance-drop"\nlevel = "20%"\nclear = "21%"', "must not be above level"),
        ('rule = "balance-drop"\nlevel = "20%"\nwithin = "2h"', "within: must be 1h or 24h"),
        ('rule = "backup-overdue"\nlevel = "8"', "level: '8' is not a duration"),
        ('rule = "drill-overdue"\nlevel = "5d"\nclear = "6d"', "clear: must not be above level"),
        ('rule = "drill-overdue"\nchains = ["base"]', "chains: drill-overdue cannot be narrowed"),
        ('rule = "runway"\nwithin = "1h"', "within: belongs to balance-drop"),
        ('rule = "balance-below"\nlevel = "5"', "assets: name the assets"),
        ('rule = "balance-below"\nclear = "99%"', "clear: must be 100% of the level or more"),
        ('rule = "balance-below"\nclear = "12"', "clear: must be a share of the floor"),
        (
            'rule = "balance-below"\nassets = ["usdc"]\nlevel = "0.001"',
            "level: USDC: '0.001' has more decimals",
        ),
        ('rule = "balance-below"\nassets = ["USDC"]\nlevel = "0"', "level: must be more than 0"),
        (
            'rule = "balance-below"\nassets = ["USDC"]\nlevel = "5"\nclear = "4"',
            "clear: must not be below level",
        ),
        ('rule = "chain-down"\nlevel = "5%"', "level: chain-down has no level"),
        ('rule = "chain-down"\ngroups = ["hot"]', "groups: chain-down cannot be narrowed by"),
        ('rule = "chain-down"\nchains = ["bose"]', "there is no [[chain]] named `bose`"),
        ('rule = "chain-down"\nname = " x"', "name: must be 1 to 60 printable"),
        ('rule = "runway"\n[[alert]]\nrule = "runway"', "number 2 (runway): stands twice"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused_by_its_key(entry: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(f"[[alert]]\n{entry}")
    assert str(refused.value).startswith("bursar.toml: [[alert]] number ")
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ('url = "ftp://a"\nsecret_env = "KEY"', "url: must be an http"),
        ('url = "https://a"', "give either secret_env or secret_file"),
        ('url = "https://a"\nsecret_env = "KEY"\nsecret_file = "k"', "give either"),
        ('url = "https://a"\nsecret_env = "OTHER"', "must name an environment variable"),
        ('secret_env = "KEY"', "url: is missing"),
        ('events = "some"', 'events: must be "alerts" or "all"'),
    ],
)
def test_a_webhook_that_cannot_be_used_is_refused(keys: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"\[webhooks\]") as refused:
        read(f"[webhooks]\n{keys}", KEY="k")
    assert words in str(refused.value)


def test_the_url_of_a_webhook_is_shown_without_its_key() -> None:
    url = "https://hooks.example/T0/abcdefghijklmnop1234?token=x"
    settings = read(f'[webhooks]\nurl = "{url}"\nsecret_env = "KEY"', KEY="k")
    assert masked(settings)["webhooks"]["url"] == "https://hooks.example/***/***?token=***"


def test_the_secret_comes_from_the_variable_or_from_a_file_of_its_owner_alone(
    tmp_path: Path,
) -> None:
    file = tmp_path / "key"
    file.write_text("from-file\n")
    file.chmod(0o600)
    by_file = WebhookSettings(url="https://a", secret_file=str(file))
    by_name = WebhookSettings(url="https://a", secret_env="KEY")
    assert webhook_secret(by_file, {}).reveal() == "from-file"
    assert webhook_secret(by_name, {"KEY": "from-env"}).reveal() == "from-env"
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="can be read by others"):
        webhook_secret(by_file, {})
    file.chmod(0o600)
    file.write_text("\n")
    with pytest.raises(ConfigError, match="holds no secret"):
        webhook_secret(by_file, {})
    file.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        webhook_secret(by_file, {})
    file.mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        webhook_secret(by_file, {})
