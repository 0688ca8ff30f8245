"""Text for people at a terminal, which must not obey what a file name says."""

from __future__ import annotations

_KEPT = frozenset("\u200c\u200d")  # joiners, which words of some languages and emoji need


def printable(text: object) -> str:
    r"""``text`` on one line, with all that a terminal would act upon written as an escape.

    Control characters, line ends, marks of direction and undecodable bytes are escaped as in a
    Python string.

    Example:
        >>> print(printable("caf\u00e9 \x1b[2J.txt"))
        café \x1b[2J.txt
    """
    return "".join(
        character
        if character.isprintable() or character in _KEPT
        else character.encode("unicode_escape", "surrogatepass").decode()
        for character in str(text)
    )
