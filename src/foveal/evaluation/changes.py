"""``KEY=VALUE`` of several protocols at once: each takes those it has a setting for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foveal.errors import FovealError
from foveal.evaluation.own_data import OWN_DATA
from foveal.evaluation.protocols import PROTOCOLS, TUNED
from foveal.evaluation.settings import ProbeSettings
from foveal.evaluation.tuning import Tuning
from foveal.recipe import nearest

KEYS: dict[str, frozenset[str]] = {
    **dict.fromkeys(PROTOCOLS, frozenset(ProbeSettings.model_fields)),
    **dict.fromkeys(TUNED, frozenset(Tuning.model_fields)),
    **{name: frozenset([*own.model.model_fields, *own.keys]) for name, own in OWN_DATA.items()},
}
"""What may be changed of every protocol."""


def changes_of(
    names: Sequence[str], changes: Mapping[str, Any] | None
) -> dict[str, dict[str, Any]]:
    """The changes of each protocol, by name.

    Raises:
        FovealError: None of the protocols has such a setting.
    """
    known = frozenset[str]().union(*(KEYS[name] for name in names))
    unknown = [key for key in changes or {} if key not in known]
    if unknown:
        key = unknown[0]
        who = [name for name, keys in KEYS.items() if key in keys]
        raise FovealError(
            f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} no setting '{key}'",
            hint=f"it is one of {', '.join(who)}" if who else nearest(key, sorted(known)),
        )
    return {
        name: {key: value for key, value in (changes or {}).items() if key in KEYS[name]}
        for name in names
    }
