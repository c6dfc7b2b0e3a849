"""The desk's themes: dark, light, two for colour-blind eyes, and one of ANSI colours alone.

A theme only sets colours; every state also has a glyph and a word, so that none of them is
needed to read the desk. Variables of our own have a value in every theme.
"""

from __future__ import annotations

from textual.theme import Theme

DEFAULT = "bursar-dark"
SAFE = "bursar-ansi"

VARIABLES = {
    "desk-dim": "#7d8894",
    "desk-rule": "#2c343d",
    "desk-bar": "#161c23",
    "desk-cursor": "#22303e",
}
"""Our own variables with a value for themes that do not know them."""


def _dark(name: str, *, ok: str, warning: str, problem: str, primary: str = "#7fb4e0") -> Theme:
    return Theme(
        name=name,
        primary=primary,
        secondary="#5f7f9e",
        accent="#9ecbf2",
        success=ok,
        warning=warning,
        error=problem,
        foreground="#d3dae1",
        background="#0f1418",
        surface="#141a20",
        panel="#1a2128",
        dark=True,
        variables={
            **VARIABLES,
            "border": "#2c343d",
            "border-blurred": "#2c343d",
            "scrollbar": "#2c343d",
            "scrollbar-hover": "#3c4753",
            "scrollbar-active": "#4b5967",
            "scrollbar-background": "#0f1418",
            "scrollbar-background-hover": "#0f1418",
            "scrollbar-background-active": "#0f1418",
            "scrollbar-corner-color": "#0f1418",
            "block-cursor-background": "#22303e",
            "block-cursor-foreground": "#eef3f7",
            "block-cursor-text-style": "none",
            "input-selection-background": "#7fb4e0 30%",
        },
    )


def _light(name: str) -> Theme:
    return Theme(
        name=name,
        primary="#1f5f99",
        secondary="#5c7b99",
        accent="#17497a",
        success="#1d7a3d",
        warning="#8f5a00",
        error="#b3202c",
        foreground="#1e252c",
        background="#fbfbf9",
        surface="#f3f3ef",
        panel="#eaeae5",
        dark=False,
        variables={
            "desk-dim": "#66707a",
            "desk-rule": "#cfd3d6",
            "desk-bar": "#eeeeea",
            "desk-cursor": "#dbe6f1",
            "border": "#cfd3d6",
            "border-blurred": "#cfd3d6",
            "scrollbar": "#c6ccd1",
            "scrollbar-hover": "#b0b8bf",
            "scrollbar-active": "#97a1aa",
            "scrollbar-background": "#fbfbf9",
            "scrollbar-background-hover": "#fbfbf9",
            "scrollbar-background-active": "#fbfbf9",
            "scrollbar-corner-color": "#fbfbf9",
            "block-cursor-background": "#dbe6f1",
            "block-cursor-foreground": "#10161c",
            "block-cursor-text-style": "none",
            "input-selection-background": "#1f5f99 25%",
        },
    )


def _ansi() -> Theme:
    return Theme(
        name=SAFE,
        ansi=True,
        primary="ansi_blue",
        secondary="ansi_cyan",
        accent="ansi_cyan",
        success="ansi_green",
        warning="ansi_yellow",
        error="ansi_red",
        foreground="ansi_default",
        background="ansi_default",
        surface="ansi_default",
        panel="ansi_default",
        boost="ansi_default",
        dark=True,
        variables={
            "desk-dim": "ansi_bright_black",
            "desk-rule": "ansi_bright_black",
            "desk-bar": "ansi_default",
            "desk-cursor": "ansi_blue",
            "ansi-background": "ansi_black",
            "ansi-foreground": "ansi_white",
            "border": "ansi_bright_black",
            "border-blurred": "ansi_bright_black",
            "scrollbar": "ansi_bright_black",
            "scrollbar-hover": "ansi_white",
            "scrollbar-active": "ansi_white",
            "scrollbar-background": "ansi_default",
            "block-cursor-background": "ansi_blue",
            "block-cursor-foreground": "ansi_bright_white",
            "input-cursor-background": "ansi_white",
            "input-cursor-foreground": "ansi_black",
            "input-cursor-text-style": "none",
            "input-selection-background": "ansi_bright_blue",
        },
    )


THEMES = (
    _dark(DEFAULT, ok="#79b98a", warning="#e0b050", problem="#ee6a70"),
    _light("bursar-light"),
    # Red-green blindness (deuteranopia, protanopia): blue, yellow and orange-red differ in
    # lightness and in the blue channel, which those eyes keep.
    _dark("bursar-deuteranopia", ok="#5aa7e8", warning="#f2d14c", problem="#ff7a33"),
    # Blue-yellow blindness (tritanopia): teal, pale pink and red.
    _dark(
        "bursar-tritanopia",
        ok="#4fb9b0",
        warning="#f3b6c4",
        problem="#ff5a5f",
        primary="#6fc3bd",
    ),
    _ansi(),
)
"""Every theme the desk offers, the default first."""
NAMES = tuple(theme.name for theme in THEMES)
