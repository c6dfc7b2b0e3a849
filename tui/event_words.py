"""An event in words: one line a person reads, whatever type it is.

A type this desk does not know (a newer engine's) is shown by its name and subject; nothing is
ever left out of the list because it has no sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from core.events import EventRecord
from tui import text
from tui.widgets.list_table import Tone


class Words(NamedTuple):
    """What happened, to whom, and how loud it is. All printable."""

    title: str
    subject: str
    said: str
    tone: Tone = Tone.PLAIN


def describe(record: EventRecord) -> Words:
    """The record's line."""
    tell = _TELLERS.get(record.type)
    subject = text.safe(record.subject)
    if tell is None:
        return Words(title_of(record.type), subject, "")
    said, tone = tell(record)
    return Words(title_of(record.type), subject, said, tone)


def title_of(kind: str) -> str:
    """A short word for a type: `balance` for `AGENT_BALANCE_CHANGED`; unknown ones in full."""
    return _TITLES.get(kind) or text.safe(kind).lower().replace("_", " ")


def figure(amount: int, decimals: int, *, sign: bool = False) -> str:
    """Every digit of an amount, without the zeros behind its second place: `-0.264`, `12.40`."""
    whole, point, places = text.exact(amount, decimals, sign=sign).partition(".")
    return f"{whole}.{places.rstrip('0').ljust(min(2, len(places)), '0')}" if point else whole


def glyph(tone: Tone, signs: text.Glyphs) -> str:
    """One cell for a tone, so that it never is colour alone."""
    if tone is Tone.PROBLEM:
        return signs.problem
    if tone is Tone.WARNING:
        return signs.warning
    return signs.ok if tone is Tone.OK else signs.dot


def as_json(record: EventRecord) -> str:
    """The public form, indented, printable."""
    encoded = msgspec.json.format(msgspec.json.encode(record.as_json()), indent=2).decode()
    return "\n".join(text.safe(line) for line in encoded.splitlines())


def _field(record: EventRecord, name: str) -> str:
    found = record.payload.get(name)
    return "" if found is None else text.safe(str(found))


def _number(record: EventRecord, name: str) -> int:
    """An integer field; amounts are decimal strings in JSON."""
    found = record.payload.get(name)
    try:
        return int(found) if isinstance(found, int | str) else 0
    except ValueError:
        return 0


def _balance(record: EventRecord) -> tuple[str, Tone]:
    decimals, symbol = _number(record, "decimals"), text.symbol(_field(record, "token"))
    change = figure(_number(record, "change"), decimals, sign=True)
    new = figure(_number(record, "newBalance"), decimals)
    said = f"{change} {symbol} on {_field(record, 'chain')}, now {new}"
    emptied = _number(record, "newBalance") == 0 and _number(record, "change") < 0
    return said, Tone.PROBLEM if emptied else Tone.PLAIN


def _reverted(record: EventRecord) -> tuple[str, Tone]:
    said, _ = _balance(record)
    return f"taken back: {said} (was event {_field(record, 'revertedSequence')})", Tone.WARNING


def _chain(record: EventRecord) -> tuple[str, Tone]:
    new, reason = _field(record, "newState"), _field(record, "reason")
    tone = {"live": Tone.OK, "down": Tone.PROBLEM, "starting": Tone.PLAIN}.get(new, Tone.WARNING)
    said = f"{_field(record, 'oldState')} -> {new}"
    return f"{said}: {reason}" if reason else said, tone


def _endpoint(record: EventRecord) -> tuple[str, Tone]:
    new, reason = _field(record, "newState"), _field(record, "reason")
    tone = {"ready": Tone.OK, "refused": Tone.PROBLEM, "untried": Tone.PLAIN}.get(new, Tone.WARNING)
    said = f"{_field(record, 'endpoint')} {new}"
    return f"{said}: {reason}" if reason else said, tone


def _reorganised(record: EventRecord) -> tuple[str, Tone]:
    depth = max(0, _number(record, "oldHead") - _number(record, "commonBlock"))
    common = text.count(_number(record, "commonBlock"))
    return f"{depth} blocks replaced above {common}", Tone.WARNING


def _registered(record: EventRecord) -> tuple[str, Tone]:
    return f"{_field(record, 'address')} on {_field(record, 'chain')}", Tone.PLAIN


def _lived(record: EventRecord) -> tuple[str, Tone]:
    new, reason = _field(record, "newState"), _field(record, "reason")
    tone = {"ACTIVE": Tone.OK, "SUSPENDED": Tone.WARNING}.get(new, Tone.PLAIN)
    said = f"{_field(record, 'oldState')} -> {new}"
    return f"{said}: {reason}" if reason else said, tone


def _tagged(record: EventRecord) -> tuple[str, Tone]:
    tags = record.payload.get("tags")
    named = ", ".join(text.safe(str(tag)) for tag in tags) if isinstance(tags, list) else ""
    return f"group {_field(record, 'group') or '-'}, tags {named or '-'}", Tone.PLAIN


def _limits(record: EventRecord) -> tuple[str, Tone]:
    said = f"{_field(record, 'scope')} {_field(record, 'key')}: {_field(record, 'token')} on "
    return (
        f"{said}{_field(record, 'chain')}, floor {_field(record, 'floor') or 'none'}, "
        f"target {_field(record, 'target') or 'none'} (base units)"
    ), Tone.PLAIN


def _started(record: EventRecord) -> tuple[str, Tone]:
    return f"version {_field(record, 'version')}, {_field(record, 'agents')} agents", Tone.OK


def _required(record: EventRecord) -> tuple[str, Tone]:
    due = text.count(_number(record, "currentBalance"))
    over = text.count(_number(record, "exceedsBy"))
    limit = text.count(_number(record, "threshold"))
    return f"{due} {_field(record, 'tokenId')} due, {over} above {limit}", Tone.WARNING


def _settling(record: EventRecord) -> tuple[str, Tone]:
    said = f"{_field(record, 'tokenId')}: {_field(record, 'oldState')} -> "
    reason = _field(record, "reason")
    said += _field(record, "newState")
    return f"{said}: {reason}" if reason else said, Tone.PLAIN


def _settled(record: EventRecord) -> tuple[str, Tone]:
    amount = text.count(_number(record, "amount"))
    return f"{amount} {_field(record, 'tokenId')} settled", Tone.OK


def _unsettled(record: EventRecord) -> tuple[str, Tone]:
    amount = text.count(_number(record, "amount"))
    said = f"{amount} {_field(record, 'tokenId')} not paid: {_field(record, 'reason')}"
    return said, Tone.WARNING


def _opened(record: EventRecord) -> tuple[str, Tone]:
    tone = Tone.PROBLEM if _field(record, "severity") == "problem" else Tone.WARNING
    return f"{_field(record, 'rule')}: {_field(record, 'message')}", tone


def _closed(record: EventRecord) -> tuple[str, Tone]:
    return f"{_field(record, 'rule')}: {_field(record, 'reason')}", Tone.OK


def _answered(record: EventRecord) -> tuple[str, Tone]:
    said = f"{_field(record, 'rule')}: {_field(record, 'operator')}: {_field(record, 'reason')}"
    return said, Tone.PLAIN


def _stopped(record: EventRecord) -> tuple[str, Tone]:
    return _field(record, "reason"), Tone.PLAIN


def _backed_up(record: EventRecord) -> tuple[str, Tone]:
    size, kind = text.size(_number(record, "size")), _field(record, "backupType")
    said = f"{kind} backup, {text.count(_number(record, 'wallets'))} wallets in {size}"
    said += f", at {_names(record, 'destinations') or 'no destination yet'}"
    missing = _names(record, "missing")
    if missing:
        return f"{said}; still to get it: {missing}", Tone.WARNING
    return said, Tone.OK


def _not_backed_up(record: EventRecord) -> tuple[str, Tone]:
    what = {"deliver": "not delivered", "verify": "not proven", "drill": "drill failed"}.get(
        _field(record, "operation"), "not made"
    )
    return f"backup {what}: {_field(record, 'reason')}", Tone.PROBLEM


def _restored(record: EventRecord) -> tuple[str, Tone]:
    wallets = text.count(_number(record, "wallets"))
    if record.payload.get("undo"):
        return f"the state before the last restore is back, {wallets} wallets", Tone.OK
    return f"{wallets} wallets restored; the state before is kept", Tone.OK


def _not_restored(record: EventRecord) -> tuple[str, Tone]:
    stage = {"plan": "dry run"}.get(_field(record, "stage"), _field(record, "stage"))
    reason = _field(record, "reason").rstrip(".")
    return f"{stage}: {reason}; nothing was changed", Tone.PROBLEM


def _mismatch(record: EventRecord) -> tuple[str, Tone]:
    expected, actual = (
        text.exact(_number(record, name), 0) for name in ("expectedBalance", "actualBalance")
    )
    where = f"{text.symbol(_field(record, 'token'))} on {_field(record, 'chain')}"
    return f"{where}: the backup says {expected}, the chain {actual}", Tone.WARNING


def _names(record: EventRecord, name: str) -> str:
    found = record.payload.get(name)
    return ", ".join(text.safe(str(each)) for each in found) if isinstance(found, list) else ""


_TITLES: Mapping[str, str] = {
    "AGENT_BALANCE_CHANGED": "balance",
    "AGENT_BALANCE_REVERTED": "reverted",
    "AGENT_REGISTERED": "registered",
    "AGENT_WALLET_STATE_CHANGED": "wallet",
    "AGENT_TAGGED": "tagged",
    "LIMITS_CHANGED": "limits",
    "CHAIN_STATE_CHANGED": "chain",
    "ENDPOINT_STATE_CHANGED": "endpoint",
    "CHAIN_REORGANISED": "reorg",
    "ENGINE_STARTED": "started",
    "ENGINE_STOPPED": "stopped",
    "SETTLEMENT_REQUIRED": "to settle",
    "SETTLEMENT_TRIGGERED": "triggered",
    "SETTLEMENT_STATE_CHANGED": "settlement",
    "SETTLEMENT_COMPLETED": "settled",
    "SETTLEMENT_FAILED": "not paid",
    "ALERT_OPENED": "alert",
    "ALERT_CLOSED": "alert over",
    "ALERT_ACKNOWLEDGED": "alert ack",
    "ALERT_SILENCED": "silenced",
    "BACKUP_CREATED": "backup",
    "BACKUP_FAILED": "no backup",
    "RESTORE_COMPLETED": "restored",
    "RESTORE_FAILED": "no restore",
    "WALLET_BALANCE_MISMATCH": "drift",
}

_TELLERS: Mapping[str, Callable[[EventRecord], tuple[str, Tone]]] = {
    "AGENT_BALANCE_CHANGED": _balance,
    "AGENT_BALANCE_REVERTED": _reverted,
    "AGENT_REGISTERED": _registered,
    "AGENT_WALLET_STATE_CHANGED": _lived,
    "AGENT_TAGGED": _tagged,
    "LIMITS_CHANGED": _limits,
    "CHAIN_STATE_CHANGED": _chain,
    "ENDPOINT_STATE_CHANGED": _endpoint,
    "CHAIN_REORGANISED": _reorganised,
    "ENGINE_STARTED": _started,
    "ENGINE_STOPPED": _stopped,
    "SETTLEMENT_REQUIRED": _required,
    "SETTLEMENT_TRIGGERED": _required,
    "SETTLEMENT_STATE_CHANGED": _settling,
    "SETTLEMENT_COMPLETED": _settled,
    "SETTLEMENT_FAILED": _unsettled,
    "ALERT_OPENED": _opened,
    "ALERT_CLOSED": _closed,
    "ALERT_ACKNOWLEDGED": _answered,
    "ALERT_SILENCED": _answered,
    "BACKUP_CREATED": _backed_up,
    "BACKUP_FAILED": _not_backed_up,
    "RESTORE_COMPLETED": _restored,
    "RESTORE_FAILED": _not_restored,
    "WALLET_BALANCE_MISMATCH": _mismatch,
}
