"""Messages of errors, as one line that cannot change the terminal."""

from __future__ import annotations

__all__ = ["one_line"]


def one_line(error: BaseException) -> str:
    """Return the message of an error on one line, without control characters.

    Texts of files and servers stand in messages, and such characters would be commands to the terminal.

    Examples
    --------
    >>> one_line(ValueError("two" + chr(10) + "lines and " + chr(27) + "[2J"))
    'two lines and ?[2J'
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(letter if letter.isprintable() else "?" for letter in text)
