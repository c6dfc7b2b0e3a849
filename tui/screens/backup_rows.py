"""Lines of the backups' lists: columns, and a backup as cells of text."""

from __future__ import annotations

from core.api import BackupView
from core.model import Severity
from tui import backup_words, backups, text
from tui.widgets.list_table import Cell, Col, Item, Tone

COLS = (
    Col("!", 1),
    Col("BACKUP", backups.SHORT_ID),
    Col("TYPE", 11),
    Col("AGE", 4, right=True),
    Col("SIZE", 6, right=True, drop=3),
    Col("COPIES", 11, wide=34, grow=True),
    Col("VERIFIED", 8),
    Col("DRILLED", 7, drop=2),
    Col("CHAIN", 5, right=True, drop=1),
    Col("WALLETS", 9, right=True, drop=9),
)
PICK_COLS = (
    Col("!", 1),
    Col("BACKUP", backups.SHORT_ID, wide=38),
    Col("TYPE", 11),
    Col("MADE", 20, drop=4, grow=True),
    Col("AGE", 4, right=True),
    Col("SIZE", 7, right=True),
    Col("WALLETS", 9, right=True, drop=3),
    Col("VERIFIED", 8),
    Col("CHAIN", 5, right=True),
)
_TONES = {Severity.OK: Tone.PLAIN, Severity.WARNING: Tone.WARNING, Severity.PROBLEM: Tone.PROBLEM}


def _proven(when_ms: int, now_ms: int, signs: text.Glyphs) -> Cell:
    said = backup_words.proven(when_ms, now_ms, signs)
    return Cell(said, Tone.OK if when_ms else Tone.DIM)


def _chain(backup: BackupView) -> Cell:
    return Cell(backup_words.chain(backup), Tone.PLAIN if backup.chain else Tone.PROBLEM)


def item(backup: BackupView, now_ms: int, signs: text.Glyphs) -> Item:
    """One backup of ours, with where it is and what was proven of it."""
    level = backups.severity(backup)
    whole, short, tone = backup_words.copies(backup, signs)
    return Item(
        backup.id,
        (
            Cell(text.severity_glyph(level, signs), _TONES[level]),
            Cell(text.safe(backups.short(backup.id)), Tone.STRONG),
            Cell(text.safe(backup.type)),
            Cell(text.age(now_ms - backup.created_ms)),
            Cell(text.size(backup.size)),
            Cell(whole, tone, short),
            _proven(backup.verified_ms, now_ms, signs),
            _proven(backup.drilled_ms, now_ms, signs),
            _chain(backup),
            Cell(text.count(backup.wallets), Tone.DIM),
        ),
    )


def pick_item(backup: BackupView, now_ms: int, signs: text.Glyphs) -> Item:
    """One backup to restore from, wherever it was found."""
    level = Severity.OK if backup.chain else Severity.PROBLEM
    return Item(
        backup.id,
        (
            Cell(text.severity_glyph(level, signs), _TONES[level]),
            Cell(text.safe(backup.id), Tone.STRONG, text.safe(backups.short(backup.id))),
            Cell(text.safe(backup.type)),
            Cell(text.moment(backup.created_ms), Tone.DIM),
            Cell(text.age(now_ms - backup.created_ms)),
            Cell(text.size(backup.size)),
            Cell(text.count(backup.wallets)),
            _proven(backup.verified_ms, now_ms, signs),
            _chain(backup),
        ),
    )
