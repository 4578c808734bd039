"""`make permissions`: the IAM actions that each command on a deployed stack needs."""

import textwrap

from tools.permissions import PERMISSIONS, RESOURCES

WIDTH = 100
"""Characters of a line."""


def permissions() -> str:
    """By command: its actions, and what they are for."""
    return "\n\n".join("\n".join((f"make {command}", *_shown(command))) for command in PERMISSIONS)


def _shown(command: str) -> list[str]:
    paragraphs = (", ".join(PERMISSIONS[command]), RESOURCES.get(command, ""))
    return [
        textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
        for text in paragraphs
        if text
    ]
