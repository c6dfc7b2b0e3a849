"""`python -m tui.cli`: the `bursar` command without its installed entry point."""

from tui.cli import main

main()
