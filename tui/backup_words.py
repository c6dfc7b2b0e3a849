"""Backups in words: how they stand, copies, jobs with bar and pace, and what keys will do.

Pure. Whether there is a backup that can be relied on is always said in words; a glyph and a
colour only repeat it. Sizes are bytes, ages as everywhere in coarse steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from core.api import BackupsView, BackupView, CopyView, DestinationView, JobView
from core.model import Severity
from tui import backups, text
from tui.backups import Copy, Pace, Paces
from tui.widgets.list_table import Tone

Words = list[tuple[str, str]]
DIM, OK, WARNING, PROBLEM = "$desk-dim", "$success", "$warning", "bold $error"
LOUD = "bold reverse $error"
"""Seen without colours too."""
SETUP = "`bursar backup setup`"
BAR = 8
COPY_TONES = {
    Copy.READ_BACK: Tone.OK,
    Copy.UPLOADED: Tone.PLAIN,
    Copy.PENDING: Tone.DIM,
    Copy.FAILED: Tone.WARNING,
}
STYLES = {Tone.OK: OK, Tone.PLAIN: "", Tone.DIM: DIM, Tone.WARNING: WARNING, Tone.PROBLEM: PROBLEM}
JOB_NAMES = {
    "backup": "backup",
    "verify": "verify",
    "drill": "drill",
    "prune": "prune",
    "rekey": "rekey",
    "restore": "restore",
}


class Standing(NamedTuple):
    """How backups stand, in words, with its tone."""

    said: str
    tone: Tone


def standing(view: BackupsView | None, now_ms: int) -> Standing | None:
    """For the status bar: `6h` (the last one's age) where all is well, else what is wrong and
    that age; None where nothing is known of backups."""
    if view is None:
        return None
    last = f" {text.age(now_ms - view.last_ms)}" if view.last_ms else ""
    if view.off:
        return Standing("off", Tone.WARNING)
    if backups.is_failing(view) or " failed " in view.trouble:
        return Standing(f"failing{last}", Tone.PROBLEM)
    if view.trouble:
        word = "overdue" if " was due " in view.trouble else "trouble"
        return Standing(f"{word}{last}", Tone.WARNING)
    if not view.last_ms:
        return Standing("none yet", Tone.WARNING)
    return Standing(last.strip(), Tone.OK)


# --- one backup ----------------------------------------------------------------------------


def name(backup: BackupView) -> str:
    """`full backup 0193a1b2-7c3d`."""
    return f"{text.safe(backup.type)} backup {text.safe(backups.short(backup.id))}"


def proven(when_ms: int, now_ms: int, signs: text.Glyphs) -> str:
    """`✓ 6h` since it was last proven; `never`."""
    return f"{signs.ok} {text.age(now_ms - when_ms)}" if when_ms else "never"


def copy_glyph(state: Copy, signs: text.Glyphs) -> str:
    """One cell for a copy's state; the word stands in the detail."""
    return {
        Copy.READ_BACK: signs.ok,
        Copy.UPLOADED: signs.half,
        Copy.PENDING: signs.empty,
        Copy.FAILED: signs.problem,
    }[state]


def copies(backup: BackupView, signs: text.Glyphs) -> tuple[str, str, Tone]:
    """Where it is: every destination with its state, the same in a few cells, and its tone."""
    states = [(text.safe(each.destination), backups.copy_state(each)) for each in backup.copies]
    if not states:
        return "nowhere", "nowhere", Tone.PROBLEM
    whole = "  ".join(
        f"{copy_glyph(state, signs)} {where}" + ("" if state is Copy.READ_BACK else f" {state}")
        for where, state in states
    )
    there = sum(state in (Copy.READ_BACK, Copy.UPLOADED) for _, state in states)
    worst = max((state for _, state in states), key=list(Copy).index)
    word = "" if worst is Copy.READ_BACK else f" {worst}"
    return whole, f"{copy_glyph(worst, signs)} {there}/{len(states)}{word}", COPY_TONES[worst]


def chain(backup: BackupView) -> str:
    """`1`; how many archives a restore of it needs; `gap` where one of them is missing."""
    return str(backup.chain) if backup.chain else "gap"


def copy_words(copy: CopyView, now_ms: int, signs: text.Glyphs) -> Words:
    """A copy in a line: where, how it stands, and why not and when it is tried again."""
    state = backups.copy_state(copy)
    words: Words = [
        (f"{copy_glyph(state, signs)} {text.safe(copy.destination)} ", STYLES[COPY_TONES[state]]),
        (text.safe(copy.state) if state is not Copy.FAILED else "failed", ""),
    ]
    if copy.error:
        tries = f", {copy.attempts} tries" if copy.attempts > 1 else ""
        words.append((f"{tries}: {text.safe(copy.error)}", WARNING))
    if copy.next_try_ms:
        wait = max(0, copy.next_try_ms - now_ms) // 1000
        words.append((f" (again {'in ' + text.duration(wait) if wait else 'now'})", DIM))
    return words


def detail(backup: BackupView, now_ms: int, signs: text.Glyphs, *, roomy: bool) -> Words:
    """Everything of a backup: in a pane, or in four lines under the list."""
    dot = f" {signs.dot} "
    born = f"{text.moment(backup.created_ms)} UTC"
    facts = [
        ("made", f"{born}, {text.age(now_ms - backup.created_ms)} ago"),
        ("holds", f"{text.count(backup.wallets)} wallets in {text.size(backup.size)}"),
        ("seed", text.safe(backup.seed_fingerprint) or "none in it"),
        ("needs", _chain_words(backup)),
        ("verified", _when(backup.verified_ms, now_ms)),
        ("drilled", _when(backup.drilled_ms, now_ms)),
    ]
    words: Words = [(f"{text.safe(backup.type)} ", "bold"), (f"{text.safe(backup.id)}\n", "bold")]
    if roomy:
        words.append((f"{text.safe(backup.name)}\n\n", DIM))
        for label, said in facts:
            loud = PROBLEM if label == "needs" and not backup.chain else ""
            words += [(f"{label:<10}", DIM), (f"{said}\n", loud)]
        words.append(("\ncopies\n", f"bold {DIM}"))
        for copy in backup.copies:
            words += [*copy_words(copy, now_ms, signs), ("\n", "")]
        return words
    words.append((f"{facts[0][1]}{dot}{facts[1][1]}\n", DIM))
    words.append((_chain_words(backup), DIM if backup.chain else PROBLEM))
    words.append((f"{dot}seed {text.elide(facts[2][1], 21, signs.cut)}", DIM))
    for copy in sorted(backup.copies, key=lambda each: not each.error)[:2]:
        words += [("\n", ""), *copy_words(copy, now_ms, signs)]
    return words


def _chain_words(backup: BackupView) -> str:
    if not backup.chain:
        parent = text.safe(backups.short(backup.parent))
        return f"a gap in its chain: its parent {parent} is missing, so it cannot be restored"
    if backup.chain == 1:
        return "itself alone"
    return f"a chain of {backup.chain} archives, found by themselves"


def _when(when_ms: int, now_ms: int) -> str:
    return f"{text.age(now_ms - when_ms)} ago" if when_ms else "never"


# --- what stands around the list -----------------------------------------------------------


def alarm(view: BackupsView | None, signs: text.Glyphs) -> Words:
    """What must be seen first, a line each: none can be made, held settlements, what is wrong."""
    if view is None:
        return [("this engine tells nothing of backups yet; R restores one all the same", DIM)]
    lines: list[tuple[str, str]] = []
    if view.held:
        lines.append((f"{signs.problem} settlements are HELD since a restore: h releases them",
                      LOUD))  # fmt: skip
    if view.off:
        said = text.safe(view.off).rstrip(".")
        hint = "" if "backup setup" in said else f". {SETUP} sets them up"
        lines.append((f"{signs.warning} no backup can be made: {said}{hint}", WARNING))
    if view.trouble:
        lines.append((f"{signs.warning} {text.safe(view.trouble)}", WARNING))
    words: Words = []
    for line in lines:
        words += [("\n", ""), line] if words else [line]
    return words


def empty(view: BackupsView | None) -> str:
    """What an empty list says: what to do next."""
    if view is None or view.off:
        return "no backup yet: run `bursar backup setup`; or R restores one from a file"
    return "no backup yet: b makes the first one now"


def job_line(job: JobView, pace: Pace | None, now_ms: int, signs: text.Glyphs) -> Words:
    """A job in a line: stage, bar and pace while it runs; then what came of it."""
    kind = JOB_NAMES.get(job.kind, text.safe(job.kind))
    if job.ended_ms:
        ago = f"{text.age(now_ms - job.ended_ms)} ago"
        if job.error:
            return [(f"{signs.problem} {kind} failed {ago}: {text.safe(job.error)}", PROBLEM)]
        return [(f"{signs.ok} {kind}", OK), (f" {ago}: {text.safe(job.message) or 'done'}", DIM)]
    words: Words = [(f"{kind}  ", "bold"), (text.safe(job.stage), "")]
    unit = f" {text.safe(job.unit)}" if job.unit else ""
    if job.total:
        percent = min(100, job.done * 100 // job.total)
        words.append((f"  {text.gauge(percent, BAR, signs)} {percent}%", "$accent"))
        words.append((f"  {figure(job.done, job.unit)}/{figure(job.total, job.unit)}{unit}", DIM))
    elif job.done:
        words.append((f"  {figure(job.done, job.unit)}{unit}", DIM))
    if pace is not None:
        left = text.duration(pace.left_s) if pace.left_s >= 60 else f"{pace.left_s}s"
        words.append((f"  {figure(pace.rate, job.unit)}/s, {left} left", DIM))
    return words


def figure(amount: int, unit: str) -> str:
    """A job's figure: bytes with a prefix (their unit is written behind), else whole."""
    return text.compact(amount, 0) if unit in ("bytes", "B") else text.count(amount)


def jobs(view: BackupsView, paces: Paces, now_ms: int, signs: text.Glyphs, most: int) -> Words:
    """What is under way, then what ended last: failures before successes; `most` lines."""
    ended = sorted((job for job in view.jobs if job.ended_ms), key=lambda job: -job.ended_ms)
    shown = [job for job in view.jobs if not job.ended_ms]
    shown += [job for job in ended if job.error] + [job for job in ended if not job.error]
    words: Words = []
    for job in shown[:most]:
        words += [*job_line(job, paces.of(job, now_ms), now_ms, signs), ("\n", "")]
    return words


def schedule(view: BackupsView, now_ms: int, signs: text.Glyphs) -> Words:
    """Next runs, key slots, and the way back after a restore."""
    dot = f" {signs.dot} "
    runs = [
        f"{what} {_in(when_ms, now_ms)}"
        for what, when_ms in (
            ("full", view.next_full_ms),
            ("incremental", view.next_incremental_ms),
            ("drill", view.next_drill_ms),
        )
        if when_ms
    ]
    slots = ", ".join(text.safe(slot) for slot in view.slots)
    words: Words = [("next  ", DIM), (dot.join(runs) or "nothing is scheduled", "")]
    words += [("\nkeys  ", DIM), (slots or "none yet", "")]
    if len(view.destinations) > 1:
        enough = "every destination must have it" if view.require == "all" else "one copy is enough"
        words.append((f"{dot}{enough}", DIM))
    if view.undo:
        words.append(("\nundo  ", DIM))
        words.append((f"u goes back to {text.safe(view.undo)}, before the last restore", ""))
    return words


def _in(when_ms: int, now_ms: int) -> str:
    seconds = (when_ms - now_ms) // 1000
    return f"in {text.duration(seconds)}" if seconds > 0 else "now"


def destinations(found: Sequence[DestinationView], signs: text.Glyphs) -> Words:
    """Every destination in a line, with why it could not be used."""
    words: Words = []
    for place, each in enumerate(found):
        lead = "to    " if place == 0 else "      "
        glyph, tone = (signs.problem, WARNING) if each.error else (signs.ok, OK)
        words += [("\n" if place else "", ""), (lead, DIM), (f"{glyph} ", tone),
                  (f"{text.safe(each.name)} ", ""), (text.safe(each.location), DIM)]  # fmt: skip
        if each.error:
            words.append((f": {text.safe(each.error)}", WARNING))
    return words


def summary(found: Sequence[BackupView], view: BackupsView | None, now_ms: int) -> Words:
    """`last 6h, verified 6h, drilled 12d`: what can be relied on."""
    if view is None:
        return []
    parts = [
        f"{what} {text.age(now_ms - when_ms) if when_ms else 'never'}"
        for what, when_ms in (
            ("last", view.last_ms),
            ("verified", view.last_verified_ms),
            ("drilled", view.last_drilled_ms),
        )
    ]
    bad = sum(backups.severity(backup) is not Severity.OK for backup in found)
    words: Words = [(f"{text.count(bad)} with trouble   ", WARNING)] if bad else []
    return [*words, (", ".join(parts), DIM)]


# --- what a command will do ----------------------------------------------------------------


def will_create(kind: str, view: BackupsView | None) -> str:
    """The consequence of a backup."""
    places = view.destinations if view is not None else ()
    where = ", ".join(text.safe(each.name) for each in places) or "every destination"
    if kind == "full":
        return f"makes a full backup and sends it to {where}; the engine goes on meanwhile"
    return f"backs up what changed since the last one and sends it to {where}; where there is no " \
           "parent it becomes a full one"  # fmt: skip


def will_verify(backup: BackupView) -> str:
    """The consequence of a verification."""
    return (
        f"{name(backup).capitalize()} ({text.size(backup.size)}) is fetched, and every byte of it "
        "decrypted and checked. Nothing is changed."
    )


def will_drill(backup: BackupView) -> str:
    """The consequence of a drill."""
    return (
        f"{name(backup).capitalize()} is restored into a scratch folder, every address is derived "
        "again and compared, and the folder is removed. Nothing in use is changed.\n\nWith the "
        "password (or the recovery key) the seed in it is proven too; without, leave it empty."
    )


def will_release() -> str:
    """The consequence of a release."""
    return (
        "Settlements go on from the restored state. A payment that was begun after the backup was "
        "made is not in it and would be asked for again: compare with whoever pays first."
    )


def will_undo(view: BackupsView) -> str:
    """The consequence of an undo."""
    return (
        f"goes back to {text.safe(view.undo)}, the state before the last restore; the engine "
        "starts again, and what happened since the restore is not in it"
    )
