"""The restore wizard in words: steps, what a dry run found, what to do next, what did not match.

Pure. Every step says what Enter will do and that nothing was changed yet, until it was.
"""

from __future__ import annotations

from core.api import (
    BackupsView,
    BackupView,
    ReconciledView,
    ReconciliationView,
    RestoreChange,
    RestorePlan,
    RestoreResult,
)
from tui import backup_words, event_words, text
from tui.backup_words import DIM, OK, PROBLEM, WARNING, Words
from tui.restoring import Step
from tui.widgets.list_table import Cell, Col, Item, Tone

NAMES = {
    Step.PICK: "pick",
    Step.UNLOCK: "unlock",
    Step.DRY_RUN: "dry run",
    Step.CONFIRM: "confirm",
    Step.APPLY: "apply",
    Step.RECONCILE: "reconcile",
}
HELD = "a restore is being put in force: it cannot be left until it has ended"
DROPPED = "the dry run is dropped: nothing was changed"
LEDGER_WORDS = {
    "keep": "ledger: the running one is kept where it is whole, else the backup's checkpoint",
    "checkpoint": "ledger: the backup's checkpoint takes the place of the running one",
}
CHANGE_COLS = (
    Col("RECORDS", 22),
    Col("ADDED", 9, right=True),
    Col("CHANGED", 9, right=True),
    Col("REMOVED", 9, right=True),
    Col("FOR EXAMPLE", 20, grow=True),
)
ROW_COLS = (
    Col("!", 1),
    Col("AGENT", 11, wide=24),
    Col("CHAIN", 6, drop=2, wide=10),
    Col("TOKEN", 5, wide=8),
    Col("STATE", 7),
    Col("EXPECTED", 15, right=True, wide=26),
    Col("ON CHAIN", 15, right=True, wide=26),
    Col("WHY", 20, drop=6, grow=True),
)
FILTERS = ("", "drift", "unknown")


def steps(now: Step, signs: text.Glyphs) -> Words:
    """The six steps with the present one in brackets, those behind it ticked."""
    words: Words = []
    for step, name in NAMES.items():
        lead = "  " if words else ""
        if step < now:
            words.append((f"{lead}{step.value} {name} {signs.ok}", OK))
        elif step is now:
            words.append((f"{lead}[{step.value} {name}]", "bold $accent"))
        else:
            words.append((f"{lead}{step.value} {name}", DIM))
    return words


def trouble(step: Step, error: str, is_planned: bool, signs: text.Glyphs) -> Words:
    """Why a step did not go on, and what to do about it. `is_planned`: a dry run still stands."""
    again = "shows what it would change now" if is_planned else "makes a new dry run"
    after = {
        Step.PICK: "Write another place and press Enter, or tab to the list.",
        Step.UNLOCK: "Nothing was changed. Type it again, or Esc to pick another backup.",
        Step.APPLY: f"The state before is whole and in use. Enter {again}.",
    }.get(step, "")
    said = text.safe(error).rstrip(".")
    return [(f"{signs.problem} {said}. ", PROBLEM), (after, "")]


def places(view: BackupsView | None, source: str, signs: text.Glyphs) -> Words:
    """The destinations to choose from, the present one marked."""
    found = view.destinations if view is not None else ()
    if not found:
        return [("write the path of a backup file, or of a folder with backups, and press Enter",
                 DIM)]  # fmt: skip
    words: Words = [("destinations (< >): ", DIM)]
    for each in found:
        here = each.name == source
        mark = f"[{text.safe(each.name)}]" if here else text.safe(each.name)
        bad = f" {signs.problem}" if each.error else ""
        words.append((f"{mark}{bad}  ", "bold $accent" if here else ""))
    words.append(("or the path of a file or folder", DIM))
    return words


def pick_hint(backup: BackupView | None, ledger: str) -> Words:
    """What Enter takes, and which ledger there will be."""
    words: Words = []
    if backup is not None and not backup.chain:
        words.append(("its chain has a gap: a restore of it will be refused.  ", WARNING))
    return [*words, (LEDGER_WORDS[ledger], DIM), (" (l changes it)", DIM)]


def chosen(backup: BackupView, source: str, ledger: str, now_ms: int, hint: str = "") -> Words:
    """The backup that is to be unlocked; `hint` says what opens it where that is no secret."""
    age = text.age(now_ms - backup.created_ms)
    archives = "" if backup.chain <= 1 else f", a chain of {backup.chain} archives"
    return [
        (f"{text.safe(backup.type)} {text.safe(backup.id)}\n", "bold"),
        (f"from {text.safe(source)}\n", DIM),
        (f"made {text.moment(backup.created_ms)} UTC, {age} ago; "
         f"{text.count(backup.wallets)} wallets in {text.size(backup.size)}{archives}\n", ""),
        (f"seed {_seed(backup.seed_fingerprint)}\n", DIM),
        (f"{LEDGER_WORDS[ledger]}\n\n", DIM),
        ("The password or the recovery key opens it. It is then decrypted and proven beside the "
         "state in use, which does not change.", ""),
        (f"\n{hint}" if hint else "", "$accent"),
    ]  # fmt: skip


def found(plan: RestorePlan, now_ms: int, signs: text.Glyphs) -> Words:
    """What the dry run proved."""
    backup = plan.backup
    watched = f", {text.count(plan.watch_only)} of them watch-only" if plan.watch_only else ""
    if plan.watch_only == plan.wallets:
        watched = ", all watch-only" if plan.wallets else ""
    chain = f", a chain of {len(plan.chain)} archives" if len(plan.chain) > 1 else ""
    words: Words = [
        (f"{backup_words.name(backup)}", "bold"),
        (f", {text.age(now_ms - backup.created_ms)} old{chain}: "
         f"{text.count(plan.wallets)} wallets{watched}\n", ""),
        (f"{signs.ok} {text.count(plan.addresses)} addresses derived again, all equal", OK)
        if plan.addresses
        else ("no address is the seed's: there is none to derive again", DIM),
        (f" {signs.dot} seed {_seed(plan.seed_fingerprint)}\n", DIM),
        (f"ledger: {text.safe(plan.ledger)}\n", DIM),
    ]  # fmt: skip
    if plan.newer:
        ids = ", ".join(_id_in(each) for each in plan.newer[:3])
        more = f" and {text.count(len(plan.newer) - 3)} more" if len(plan.newer) > 3 else ""
        words.append((f"{signs.warning} newer backups are known: {ids}{more}\n", WARNING))
    for each in plan.warnings:
        if not (plan.newer and " newer backup" in each):  # they were just named
            words.append((f"{signs.warning} {text.safe(each)}\n", WARNING))
    added, changed, removed = (
        sum(getattr(change, name) for change in plan.changes)
        for name in ("added", "changed", "removed")
    )
    words.append((f"+{text.count(added)} added  ~{text.count(changed)} changed  "
                  f"-{text.count(removed)} removed", "bold"))  # fmt: skip
    return words


def _id_in(name: str) -> str:
    """The first digits of a backup's id, given as it is or in a file's name."""
    parts = name.split("-", 3)
    return text.safe(parts[-1] if name.startswith("wallet-backup-") else name)[:13]


def _seed(fingerprint: str) -> str:
    """Both ends of a fingerprint."""
    return text.elide(text.safe(fingerprint), 21) or "none in it"


def change_item(change: RestoreChange) -> Item:
    """One kind of record of the dry run."""
    examples = ", ".join(text.safe(each) for each in change.examples)
    figures = (
        Cell(text.count(change.added), Tone.OK if change.added else Tone.DIM),
        Cell(text.count(change.changed), Tone.WARNING if change.changed else Tone.DIM),
        Cell(text.count(change.removed), Tone.PROBLEM if change.removed else Tone.DIM),
    )
    kind = Cell(text.safe(change.kind), Tone.STRONG)
    return Item(change.kind, (kind, *figures, Cell(examples, Tone.DIM)))


def consequence(plan: RestorePlan) -> str:
    """What applying it does."""
    if not plan.confirm:
        return "There is no state here yet: nothing is overwritten. The engine starts again on it."
    return (
        "The state in use is replaced. A safety backup of it is made first, and the last restore "
        "can be undone. The engine starts again; settlements are held until released."
    )


def to_type(plan: RestorePlan, typed: str) -> str:
    """What is still to be typed; "" when it is right."""
    if typed == plan.confirm:
        return ""
    name = text.safe(plan.confirm)
    return f"type {name} to apply it" if not typed else f"that is not {name}: nothing is applied"


def outcome(result: RestoreResult | None, view: BackupsView | None, signs: text.Glyphs) -> Words:
    """That it was applied, and the ways from here."""
    words: Words = []
    if result is None:
        words.append((f"{signs.ok} restored: the engine came back on the restored state\n", OK))
    else:
        words.append((f"{signs.ok} {text.safe(result.message)}\n", OK))
        saved = text.safe(result.safety_backup)[:13]
        if saved:
            words.append((f"the state before is kept in {text.safe(result.previous)} (u in Backups "
                          f"goes back to it) and in the safety backup {saved}\n", DIM))  # fmt: skip
    if view is not None and view.held:
        words.append((f"{signs.warning} settlements are HELD: h releases them once what is under "
                      "way was compared\n", WARNING))  # fmt: skip
    return words


def compared(report: ReconciliationView | None, shown: str, signs: text.Glyphs) -> Words:
    """How far the comparison is."""
    if report is None:
        return [("the chains are about to be read", DIM)]
    total = report.matched + report.drifted + report.unknown + report.pending
    done = total - report.pending
    percent = done * 100 // total if total else 100
    state = "compared" if report.ended_ms else "comparing"
    words: Words = [
        (f"{state} {text.gauge(percent, 10, signs)} {text.count(done)}/{text.count(total)}  ", ""),
        (f"{signs.ok} {text.count(report.matched)} match  ", OK),
        (f"{signs.problem} {text.count(report.drifted)} drift  ",
         PROBLEM if report.drifted else DIM),
        (f"{signs.warning} {text.count(report.unknown)} unknown",
         WARNING if report.unknown else DIM),
    ]  # fmt: skip
    if shown:
        words.append((f"  only {shown} (!)", "$accent"))
    return words


def all_match(report: ReconciliationView | None) -> str:
    """What a list without lines says."""
    if report is None or not report.ended_ms:
        return "nothing that does not match so far"
    return "every balance matches its chain"


def row_item(row: ReconciledView, signs: text.Glyphs) -> Item:
    """One balance that does not match."""
    drifts = row.state == "drift"
    tone = Tone.PROBLEM if drifts else Tone.WARNING
    why = text.safe(row.reason) or (_difference(row) if drifts else "")
    return Item(
        row_key(row),
        (
            Cell(signs.problem if drifts else signs.warning, tone),
            Cell(text.safe(row.agent), Tone.STRONG),
            Cell(text.safe(row.chain)),
            Cell(text.symbol(row.token)),
            Cell(text.safe(row.state), tone),
            _figure(row.expected, row.decimals, signs),
            _figure(row.actual, row.decimals, signs),
            Cell(why, Tone.DIM),
        ),
    )


def row_key(row: ReconciledView) -> str:
    """A row's key in the list."""
    return f"{row.agent}\0{row.chain}\0{row.token}"


def row_words(row: ReconciledView) -> Words:
    """A row in a sentence, every digit of it."""
    symbol, places_ = text.symbol(row.token), row.decimals
    where = f"{text.safe(row.agent)} on {text.safe(row.chain)}"
    expected = "nothing" if row.expected is None else text.exact(row.expected, places_)
    words: Words = [(f"{where}  ", "bold"), (f"the backup says {expected} {symbol}; ", "")]
    if row.actual is None:
        words.append((f"the chain could not be read: {text.safe(row.reason) or 'no reason'}",
                      WARNING))  # fmt: skip
        return words
    at = f" at block {text.count(row.block)}" if row.block else ""
    words.append((f"the chain {text.exact(row.actual, places_)}{at}", ""))
    if row.expected is not None:
        words.append((f", {_difference(row)}", PROBLEM))
    return words


def _difference(row: ReconciledView) -> str:
    if row.actual is None or row.expected is None:
        return ""
    return event_words.figure(row.actual - row.expected, row.decimals, sign=True)


def _figure(amount: int | None, decimals: int, signs: text.Glyphs) -> Cell:
    if amount is None:
        return Cell("unknown", Tone.DIM)
    whole = event_words.figure(amount, decimals)
    return Cell(whole, Tone.PLAIN, text.total(amount, decimals, signs.cut))
