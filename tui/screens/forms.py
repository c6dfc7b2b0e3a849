"""Asking the operator, then giving one command: watch, tag, limits, export, copy.

Each function shows a form for a screen, turns the answer into a command of `core.api` and gives
it through the screen. The dialogs themselves are loaded when they are first needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.api import (
    BookUnexplained,
    CustodyView,
    ImportWallets,
    SetLimits,
    TagAgents,
    WalletRow,
)
from core.events import Json
from core.model import Agent, Amount, Asset, BursarError
from tui import export, text
from tui.fleet_row import FleetRow
from tui.screens.base import DeskScreen


class FormError(BursarError):
    """What is written in a form makes no command; the message says why."""


def copy_explorer(screen: DeskScreen, row: FleetRow) -> None:
    """Copy the URL of the address's page, if the config names the chain's explorer."""
    template = screen.desk.options.explorers.get(row.chain, "")
    if not template:
        chain = text.safe(row.chain)
        screen.say(f"no explorer for {chain}: set `explorer` in its [[chain]]", severity="warning")
        return
    screen.copy(template.replace("{address}", row.address), "explorer url")


async def export_rows(screen: DeskScreen, rows: Sequence[FleetRow]) -> None:
    """Ask for a file and write the fleet's rows to it."""
    await export_fields(screen, "fleet", "rows", [export.row_json(row) for row in rows])


async def export_fields(
    screen: DeskScreen, stem: str, what: str, found: Sequence[dict[str, Json]]
) -> None:
    """Ask for a file (`bursar-STEM-MOMENT.csv` to begin with) and write to it what is shown."""
    from tui.screens.dialogs import Field, Form

    def build(values: Mapping[str, str]) -> tuple[Path, str]:
        path = export.check_path(values["path"])
        return (
            path,
            f"writes {len(found):,} {what} as {path.suffix[1:].upper()} to {path.absolute()}",
        )

    moment = text.moment(screen.session.now_ms()).replace("-", "").replace(":", "")
    start = f"bursar-{stem}-{moment.replace(' ', '-')}.csv"
    form = Form("Export what is shown", [Field("path", "file", start)], build, "Write")
    path = await screen.app.push_screen_wait(form)
    if path is None:
        return
    content = export.render_fields(found, path.suffix)
    try:
        await asyncio.to_thread(export.write, path, content)
    except export.ExportError as error:
        screen.say(str(error), severity="error")
        return
    screen.say(f"wrote {len(found):,} {what} to {text.safe(str(path.absolute()))}")


def words_of(tags: str) -> tuple[str, ...]:
    """Tags as a person writes them, by comma or blank."""
    return tuple(dict.fromkeys(tags.replace(",", " ").split()))


async def watch_address(screen: DeskScreen) -> None:
    """Ask for an agent, a chain and an address, and follow it."""
    from tui.screens.dialogs import Field, Form

    chains = [chain.name for chain in screen.session.chains]

    def build(values: Mapping[str, str]) -> tuple[ImportWallets, str]:
        for name in ("agent", "chain", "address"):
            if not values[name]:
                raise FormError(f"write the {name}")
        if values["chain"] not in chains:
            raise FormError(f"no chain {values['chain']!r}: there are {', '.join(chains)}")
        row = WalletRow(
            values["agent"],
            values["chain"],
            values["address"],
            values["group"],
            words_of(values["tags"]),
        )
        said = f"follows {row.address} on {row.chain} as {row.agent}; nothing can be spent with it"
        return ImportWallets((row,)), said

    command = await screen.app.push_screen_wait(
        Form(
            "Watch an address",
            [
                Field("agent", "agent", placeholder="agent-0001"),
                Field("chain", "chain", chains[0] if len(chains) == 1 else "", ", ".join(chains)),
                Field("address", "address"),
                Field("group", "group", placeholder="optional"),
                Field("tags", "tags", placeholder="optional, by comma"),
            ],
            build,
            "Watch",
        )
    )
    if command is not None:
        await screen.give(command)


async def tag_agent(screen: DeskScreen, agent: Agent) -> None:
    """Ask for group and tags of an agent, and set them."""
    from tui.screens.dialogs import Field, Form

    def build(values: Mapping[str, str]) -> tuple[TagAgents, str]:
        tags = words_of(values["tags"])
        added = tuple(tag for tag in tags if tag not in agent.tags)
        removed = tuple(tag for tag in agent.tags if tag not in tags)
        group = values["group"] if values["group"] != agent.group else None
        if group is None and not added and not removed:
            raise FormError("nothing is changed yet")
        said = [f"group {group or 'none'}"] if group is not None else []
        said += [f"+{tag}" for tag in added] + [f"-{tag}" for tag in removed]
        command = TagAgents((agent.id,), group, added, removed)
        return command, f"{text.safe(agent.id)}: {', '.join(said)}"

    command = await screen.app.push_screen_wait(
        Form(
            f"Group and tags of {text.safe(agent.id)}",
            [
                Field("group", "group", agent.group, "none"),
                Field("tags", "tags", ", ".join(agent.tags), "by comma"),
            ],
            build,
            "Set",
        )
    )
    if command is not None:
        await screen.give(command)


async def set_limits(screen: DeskScreen, row: FleetRow) -> None:
    """Ask for floor and target of an asset, for an agent or its whole group, and set them."""
    from tui.screens.dialogs import Field, Form

    asset, view = row.asset, row.view
    symbol = text.symbol(asset.symbol)

    def build(values: Mapping[str, str]) -> tuple[SetLimits, str]:
        scope = values["scope"].lower()
        if scope not in ("agent", "group"):
            raise FormError("whose: write agent or group")
        key = row.agent if scope == "agent" else row.group
        if not key:
            raise FormError(f"{row.agent} is in no group")
        floor, target = _limit(values["floor"], asset), _limit(values["target"], asset)
        if floor is not None and target is not None and target < floor:
            raise FormError("the target is below the floor")
        command = SetLimits(
            scope, key, row.chain, asset.contract or asset.symbol, floor=floor, target=target
        )
        said = f"{scope} {key}, {symbol} on {row.chain}: floor {values['floor'] or 'none'}"
        return command, f"{said}, target {values['target'] or 'none'}"

    command = await screen.app.push_screen_wait(
        Form(
            f"Floor and target of {symbol}",
            [
                Field("scope", "whose", "agent", "agent or group"),
                Field("floor", "floor", _written(view.floor, asset), "none"),
                Field("target", "target", _written(view.target, asset), "none"),
            ],
            build,
            "Set",
        )
    )
    if command is not None:
        await screen.give(command)


async def book_unexplained(screen: DeskScreen, row: FleetRow, finding: CustodyView) -> None:
    """Ask for the reason of a custody difference, then once more, and book it."""
    from tui.screens.dialogs import Confirm, Field, Form

    asset = row.asset
    symbol = text.symbol(asset.symbol)
    figure = f"{text.exact(finding.unexplained, asset.decimals, sign=True)} {symbol}"
    where = f"{text.safe(row.agent)} on {text.safe(row.chain)}"

    def build(values: Mapping[str, str]) -> tuple[BookUnexplained, str]:
        if not values["reason"]:
            raise FormError(f"write why {where} differs by {figure}; it is kept with the booking")
        command = BookUnexplained(
            row.agent, row.chain, asset.contract or asset.symbol, values["reason"]
        )
        return command, f"books {figure} of {where} to the unexplained account"

    command = await screen.app.push_screen_wait(
        Form(f"Book what is unexplained of {symbol}", [Field("reason", "reason")], build, "Go on")
    )
    if command is None:
        return
    said = (
        f"{figure} of {where} is booked to the unexplained account, so that the ledger says what "
        f"the chain says. A booking is never taken back.\n\nReason: {text.safe(command.reason)}"
    )
    if await screen.app.push_screen_wait(Confirm("Book the difference?", said, "Book it")):
        await screen.give(command)


def _limit(words: str, asset: Asset) -> Amount | None:
    if not words:
        return None
    amount = text.parse_amount(words, asset.decimals)
    if amount < 0:
        raise FormError("a limit is never below zero")
    return Amount(amount)


def _written(amount: Amount | None, asset: Asset) -> str:
    return "" if amount is None else text.plain(amount, asset.decimals)
