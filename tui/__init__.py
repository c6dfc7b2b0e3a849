"""What a person sees: the Textual desk and the command line over the engine."""

import os

# Textual paints on a grid of this many frames a second, and after a long frame lets one pass: at
# its usual 60 a key may wait 33 ms for its turn. Nothing is painted unless something changed, so a
# finer grid costs nothing. Read by Textual when it is imported.
os.environ.setdefault("TEXTUAL_FPS", "200")
