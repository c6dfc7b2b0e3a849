"""Asking before a settlement is started, completed, failed, or a threshold is changed.

Each asks for what it needs, says what will happen, and asks once more with Cancel under the
cursor. What the shown state forbids is said at once; the engine has the last word, since its
state may be newer, and its refusal is shown as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from core.api import (
    Command,
    CompleteSettlement,
    FailSettlement,
    SetThreshold,
    SettlementPairView,
    StartSettlement,
)
from core.model import Amount, BursarError
from tui import settlement_words, settlements, text
from tui.screens.base import DeskScreen
from tui.screens.forms import FormError
from tui.settlement_words import LANE_NAMES, name, units
from tui.settlements import Lane, Row

CONFIGURED = "configured"
"""What is written for a threshold to go back to the configuration."""


async def explain(screen: DeskScreen, view: SettlementPairView) -> None:
    """Ask the engine why, and show its sentences."""
    from tui.screens.dialogs import Tell

    try:
        words = await screen.session.api.explain(view.peer, view.token, view.direction)
    except BursarError as error:
        screen.say(text.safe(str(error)), severity="error")
        return
    shown = "\n\n".join(_sentences(text.safe(words)))
    await screen.app.push_screen_wait(Tell(f"{name(view)}: why", shown))


def _sentences(words: str) -> list[str]:
    return [part if part.endswith(".") else f"{part}." for part in words.split(". ") if part]


async def start(screen: DeskScreen, view: SettlementPairView) -> None:
    """Ask for the amount, then once more, and begin a payment."""
    from tui.screens.dialogs import Field, Form

    if not _is_in(screen, view, Lane.PENDING, "started"):
        return
    aim = settlements.aim(view)

    def build(values: Mapping[str, str]) -> tuple[StartSettlement, str]:
        amount = _amount(values["amount"], aim, "what is due")
        command = StartSettlement(view.peer, view.token, view.direction, amount)
        return command, f"begins a payment of {units(aim if amount is None else amount)}"

    form = Form(
        f"Start the settlement with {name(view)}",
        [Field("amount", "amount", units(aim), "all that is due")],
        build,
        "Go on",
    )
    command = await screen.app.push_screen_wait(form)
    if command is not None:
        said = settlement_words.will_start(command, view)
        await _confirmed(screen, "Start the settlement?", said, "Start it", command)


async def complete(screen: DeskScreen, view: SettlementPairView) -> None:
    """Ask how much arrived, then once more, and book it."""
    from tui.screens.dialogs import Field, Form

    if not _is_in(screen, view, Lane.IN_PROGRESS, "completed"):
        return
    whole = int(view.amount or 0)

    def build(values: Mapping[str, str]) -> tuple[CompleteSettlement, str]:
        amount = _amount(values["amount"], whole, "what is under way")
        if amount == whole:
            amount = None
        command = CompleteSettlement(
            view.peer, view.token, view.direction, amount, view.idempotency_key
        )
        part = f"{units(amount)} of {units(whole)}" if amount is not None else units(whole)
        return command, f"books {part} as paid"

    form = Form(
        f"Settlement with {name(view)}: done",
        [Field("amount", "arrived", units(whole), "all of it")],
        build,
        "Go on",
    )
    command = await screen.app.push_screen_wait(form)
    if command is not None:
        said = settlement_words.will_complete(command, view)
        await _confirmed(screen, "Book the payment?", said, "Book it", command)


async def fail(screen: DeskScreen, view: SettlementPairView) -> None:
    """Ask for the reason, then once more, and release what was under way."""
    from tui.screens.dialogs import Field, Form

    if not _is_in(screen, view, Lane.IN_PROGRESS, "failed"):
        return

    def build(values: Mapping[str, str]) -> tuple[FailSettlement, str]:
        if not values["reason"]:
            raise FormError("write why the payment was not made; it is kept with the settlement")
        command = FailSettlement(
            view.peer, view.token, values["reason"], view.direction, view.idempotency_key
        )
        return command, f"releases {units(view.amount or 0)}; it will be asked for again"

    form = Form(
        f"Settlement with {name(view)}: failed", [Field("reason", "reason")], build, "Go on"
    )
    command = await screen.app.push_screen_wait(form)
    if command is not None:
        said = settlement_words.will_fail(view, command.reason)
        await _confirmed(screen, "Was it not paid?", said, "It failed", command)


async def set_threshold(screen: DeskScreen, row: Row | None) -> None:
    """Ask for whom and which level, then once more, and set it; without a row the default."""
    from tui.screens.dialogs import Field, Form

    view = row.view if row is not None else None

    def build(values: Mapping[str, str]) -> tuple[SetThreshold, str]:
        scope = values["scope"].lower()
        if scope not in ("pair", "peer", "default") or (view is None and scope != "default"):
            raise FormError("for whom: write " + ("pair, peer or default" if view else "default"))
        peer = view.peer if view is not None and scope != "default" else ""
        token = view.token if view is not None and scope == "pair" else ""
        level = _level(values["level"])
        command = SetThreshold(peer, token, level, values["reason"])
        return command, _threshold_sentence(command, row)

    at = "" if view is None or view.threshold is None else f"now {units(view.threshold)}; "
    form = Form(
        "Threshold" if view is None else f"Threshold of {name(view)}",
        [
            Field("scope", "for whom", "default" if view is None else "pair",
                  "pair, peer or default"),
            Field("level", "level", placeholder=f"{at}base units, 80%, or configured"),
            Field("reason", "reason", placeholder="optional; kept in the events"),
        ],
        build,
        "Go on",
    )  # fmt: skip
    command = await screen.app.push_screen_wait(form)
    if command is not None:
        said = f"{_threshold_sentence(command, row)}. It is kept over a restart and recorded."
        await _confirmed(screen, "Change the threshold?", said, "Change it", command)


def _threshold_sentence(command: SetThreshold, row: Row | None) -> str:
    whom = "every peer and token without a threshold of its own"
    if command.token:
        whom = f"{text.safe(command.peer)} in {text.symbol(command.token)}"
    elif command.peer:
        whom = f"{text.safe(command.peer)} in every token without one of its own"
    if not command.level:
        return f"{whom}: back to what the configuration says"
    said = f"{whom}: settle above {_level_words(command.level, row)}"
    level = _base_units(command.level, row)
    due = row.view.due if row is not None and command.token else None
    if level is not None and due is not None and due > level:
        said += f"; {units(due)} is due, so it is asked for at once"
    return said


def _level_words(level: str, row: Row | None) -> str:
    if not level.endswith("%"):
        return units(int(level))
    found = _base_units(level, row)
    return f"{level} of the credit limit" + (f", now {units(found)}" if found is not None else "")


def _base_units(level: str, row: Row | None) -> int | None:
    if not level.endswith("%"):
        return int(level)
    limit = row.peer.limit if row is not None and row.peer is not None else None
    if limit is None:
        return None
    from core.settlement.thresholds import Share, parse

    share = parse(level, "the level")
    return share.of(limit) if isinstance(share, Share) else share


def _level(words: str) -> str:
    """A level as the engine takes it, thousands marks taken out; "" for the word `configured`.
    Raises what the settlement room says of one that is none."""
    level = words.replace(",", "").replace("_", "").replace(" ", "")
    if not level:
        raise FormError(
            "write base units, a share of the credit limit such as 80%, or configured to go back "
            "to what the configuration says"
        )
    if level.lower() == CONFIGURED:
        return ""
    from core.settlement.thresholds import parse

    parse(level, "the level")
    return level


def _amount(words: str, most: int, of: str) -> Amount | None:
    """Base units above 0 and at most `most`; None where nothing is written: all of it."""
    if not words:
        return None
    amount = text.parse_amount(words, 0)
    if amount <= 0:
        raise FormError("an amount is above zero")
    if amount > most:
        raise FormError(f"{units(amount)} is more than {of}, {units(most)}")
    return Amount(amount)


def _is_in(screen: DeskScreen, view: SettlementPairView, lane: Lane, done: str) -> bool:
    """Whether the state allows it; else says which does, and what to press instead."""
    here = settlements.Row(view, None).lane
    if here is lane:
        return True
    instead = {
        Lane.IDLE: "it is asked for once more is due than the threshold (t changes that)",
        Lane.PENDING: "s starts it",
        Lane.IN_PROGRESS: "d completes it, x fails it",
    }[here]
    wanted = LANE_NAMES[lane].lower()
    screen.say(
        f"{name(view)} is {LANE_NAMES[here].lower()}: only what is {wanted} can be {done}; "
        f"{instead}",
        severity="warning",
    )
    return False


async def _confirmed(
    screen: DeskScreen, title: str, words: str, yes: str, command: Command
) -> None:
    from tui.screens.dialogs import Confirm

    if not await screen.app.push_screen_wait(Confirm(title, words, yes)):
        return
    outcome = await screen.give(command)
    for warning in outcome.details if outcome is not None else ():
        screen.say(text.safe(warning), severity="warning")
