"""The verb ``evaluate`` over a suite: each protocol on every data set that it can be asked of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.backbones.encoder import Encoder
from foveal.data.boxes import MarkedSource
from foveal.data.splits import load_splits
from foveal.engine.screen import ProgressScreen
from foveal.errors import FovealError
from foveal.evaluation.changes import KEYS, changes_of
from foveal.evaluation.endpoints import misfit
from foveal.evaluation.own_data import OWN_DATA, own_settings
from foveal.evaluation.protocols import SEVERAL
from foveal.evaluation.result import Result
from foveal.evaluation.run import encoder_of, evaluate, world_parts
from foveal.evaluation.suites import Suite

if TYPE_CHECKING:
    from rich.console import Console


def evaluate_suite(
    run_or_file: str | Path | Encoder,
    data: Any,
    suite: Suite,
    *,
    changes: Mapping[str, Any] | None = None,
    console: Console | None = None,
    quiet: bool = True,
    **options: Any,
) -> list[Result]:
    """Runs every protocol of a suite on every data set that holds what it asks for.

    What no data set can serve is said, with the reason, and left out.

    Args:
        run_or_file: See ``foveal.evaluation.run.evaluate``.
        data: A data set or a list of them; of a Doom world ``objects`` and ``scenes``.
        suite: What is asked.
        changes: Settings; each protocol takes those it has.
        console: Where progress is shown; None is standard error.
        quiet: Show nothing.
        **options: Of ``evaluate``.

    Raises:
        FovealError: A data set serves none of the protocols; says what is wrong with it.
    """
    sets = data_sets(data)
    encoder = encoder_of(run_or_file)
    channels = encoder.channels
    fitting: list[list[str]] = []
    missing: dict[str, str] = {}
    for each in sets:
        why_not = reasons(suite.protocols, each, channels)
        fitting.append([name for name, reason in why_not.items() if reason is None])
        missing |= {name: reason for name, reason in why_not.items() if reason is not None}
        if not fitting[-1]:
            raise FovealError(
                f"{each} serves none of the suite's protocols: {next(iter(why_not.values()))}",
                hint="foveal evaluate --protocol NAME says what one of them needs",
            )
    served = [name for name in suite.protocols if any(name in some for some in fitting)]
    with ProgressScreen(console, quiet=quiet) as screen:
        for name in suite.protocols:
            if name not in served:
                screen.say(f"left out: {name} ({missing[name]})")
        preset = _preset(suite, served, encoder, changes or {}, screen)
    own = changes_of(served, {**preset, **(changes or {})})
    for name in served:
        if name in OWN_DATA:
            own_settings(name, own[name])  # before the first data set has run for an hour
    results = []
    for each, names in zip(sets, fitting, strict=True):
        given = {key: value for name in names for key, value in own[name].items()}
        results += evaluate(
            run_or_file, each, protocols=names, changes=given, console=console, quiet=quiet,
            **options,
        )  # fmt: skip
    return results


def _preset(
    suite: Suite,
    served: Sequence[str],
    encoder: Encoder,
    changes: Mapping[str, Any],
    screen: ProgressScreen,
) -> dict[str, Any]:
    """The suite's own settings; a pooling that is not for this network is left out, and said."""
    preset = {k: v for k, v in suite.changes.items() if any(k in KEYS[name] for name in served)}
    reason = misfit(encoder, preset["pool"]) if "pool" in {*preset} - {*changes} else None
    if reason is not None:
        del preset["pool"]
        screen.say(f"endpoints: pool=avg, since {reason}")
    return preset


def data_sets(data: Any) -> list[Any]:
    """The data sets that are meant: several in a list, a Doom world's parts, or one."""
    several = isinstance(data, Sequence) and not isinstance(data, str | bytes)
    return [part for each in (data if several else [data]) for part in world_parts(each) or [each]]


def reasons(names: Sequence[str], data: Any, channels: int) -> dict[str, str | None]:
    """What keeps each protocol from being asked of a data set; None: nothing."""
    found: dict[str, str | None] = {}
    for name in (name for name in names if name in OWN_DATA):
        try:
            OWN_DATA[name].opens(data, channels)
            found[name] = None
        except FovealError as error:
            found[name] = str(error)
    others = [name for name in names if name not in OWN_DATA]
    if others:
        found |= _of_pictures(others, data, channels)
    return {name: found[name] for name in names}


def _of_pictures(names: Sequence[str], data: Any, channels: int) -> dict[str, str | None]:
    """Of protocols that read one split of pictures, which is opened once."""
    try:
        train, _ = load_splits(data, channels=channels)
    except FovealError as error:
        return dict.fromkeys(names, str(error))
    marked = isinstance(train, MarkedSource)
    why = f"{train.root} may hold several classes a picture"
    return {name: why if marked and name not in SEVERAL else None for name in names}
