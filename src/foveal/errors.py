"""Errors that speak to a person: what is wrong, where, and what to type next."""

from __future__ import annotations


class FovealError(Exception):
    """Something the user can act on.

    The shell prints it without a traceback; Python code can catch it.

    Args:
        message: What is wrong and where, in one or two sentences.
        hint: What to do or type next.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  try: {self.hint}" if self.hint else self.message


class BadImage(FovealError):
    """One picture cannot be used.

    Args:
        kind: A short stable word for tables, e.g. ``truncated``, ``empty``, ``bomb``.
        message: The reason in words.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
