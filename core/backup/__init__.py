"""Backups: the archive format, what goes into it, where it goes, when, and how it is proved.

The format is published in docs/backup-format.md and opened without Bursar by
docs/open_backup.py. Nothing in this room knows a chain, a screen or the engine.
"""
