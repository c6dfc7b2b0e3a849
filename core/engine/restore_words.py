"""A staged restore in words: what it changes, and what an operator should know first. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from core.api import RestoreChange
from core.backup.comparing import Difference, at_rest
from core.backup.staging import Staged
from core.config import Settings, hidden_in, portable


def changes_of(differences: Iterable[Difference]) -> tuple[RestoreChange, ...]:
    """As the dry run shows them."""
    return tuple(
        RestoreChange(d.kind, d.added, d.changed, d.removed, d.examples) for d in differences
    )


def told_difference(before: Iterable[Difference], now: Iterable[Difference]) -> str:
    """What is not as it was, by kind."""
    was, is_now = at_rest(before), at_rest(now)
    none = (0, 0, 0)
    return ", ".join(
        f"{kind}: {_counts(was.get(kind, none))}, now {_counts(is_now.get(kind, none))}"
        for kind in sorted({*was, *is_now})
        if was.get(kind, none) != is_now.get(kind, none)
    )


def warnings_of(
    staged: Staged,
    settings: Settings,
    *,
    has_key: bool,
    install_id: str,
    is_empty: bool,
    is_fresh: bool,
    newer: int,
) -> tuple[str, ...]:
    """What to know before it is applied, the gravest first."""
    said = []
    if install_id and install_id != staged.header.install_id:
        said.append("This backup is of another installation than the one that runs here.")
    if newer:
        said.append(f"{newer} newer backup{'s are' if newer > 1 else ' is'} known.")
    if staged.unproven and staged.header.seed_fingerprint:
        said.append(f"The seed was not proven: {staged.unproven}.")
    if staged.ledger.warning:
        said.append(staged.ledger.warning)
    if not is_empty and not has_key:
        said.append("No safety backup can be made first: there is no backup key here.")
    sections = {name: msgspec.json.decode(text) for name, text in staged.built.settings.items()}
    if is_fresh:
        if hidden := hidden_in(sections):
            said.append(f"Secrets left out of the settings are to be written again: "
                        f"{', '.join(hidden)}.")  # fmt: skip
    elif differing := _differing(sections, settings):
        names = ", ".join(differing)
        said.append(f"The settings here stay as they are; the backup's differ in {names}.")
    return tuple(said)


def _differing(sections: dict[str, object], settings: Settings) -> list[str]:
    here = msgspec.json.decode(msgspec.json.encode(portable(settings)))
    names = {*sections, *here}
    return [name for name in sorted(names) if sections.get(name) != here.get(name)]


def _counts(counts: tuple[int, int, int]) -> str:
    added, changed, removed = counts
    return f"+{added:,} ~{changed:,} -{removed:,}"
