"""What a user types to name data: a path, a pattern or an address, and options behind a ``#``.

``videos/#fps=2`` is the folder ``videos`` with frames twice a second; ``#`` needs no quotes in a
shell, where ``?`` and ``&`` do. The options are part of the name, so that every verb takes them.
"""

from __future__ import annotations

import re
from pathlib import Path

from foveal.errors import FovealError

_OPTIONS = re.compile(r"#(\w+=[^#,=]+(?:,\w+=[^#,=]+)*)$")


def split_options(text: str) -> tuple[str, dict[str, str]]:
    """The name itself, and its options; a file that is really called so has none."""
    match = _OPTIONS.search(text)
    if match is None or Path(text).expanduser().exists():
        return text, {}
    pairs = (pair.split("=") for pair in match[1].split(","))
    return text[: match.start()], {key: value for key, value in pairs}


def check_options(text: str, options: dict[str, str], known: tuple[str, ...] = ()) -> None:
    """Refuses options that this kind of data does not have.

    Raises:
        FovealError: Names the ones it has.
    """
    other = [key for key in options if key not in known]
    if other:
        may = " or ".join(f"#{key}=..." for key in known)
        raise FovealError(
            f"{text} has no option {', '.join(other)}",
            hint=f"{text}{may}" if len(known) == 1 else may or f"{text}, without the #",
        )


def number_option(text: str, options: dict[str, str], key: str, default: float) -> float:
    """A positive number among the options.

    Raises:
        FovealError: It is no such number.
    """
    try:
        number = float(options.get(key, default))
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise FovealError(f"{key}={options[key]} of {text} is no positive number", hint=f"#{key}=2")
    return number
