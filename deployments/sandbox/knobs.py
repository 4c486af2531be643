"""The knobs of the sandbox: how busy, slow and faulty it is. All of them are off by default."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from deployments.sandbox.refusal import Refusal


def _knob(default: Any, text: str, *, least: float = 0, most: float = math.inf) -> Any:
    def fits(value: float) -> bool:
        return least <= value <= most and abs(value) < math.inf

    values = "" if isinstance(default, bool) else f", {least:g} to {most:g}"
    return field(default=default, metadata={"help": text, "fits": fits, "values": values})


def _text_knob(text: str, example: str, fits: Callable[[str], bool]) -> Any:
    return field(default=None, metadata={"help": text, "fits": fits, "values": f", such as {example}"})


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """The values of the knobs.

    Quota, latency and faults apply to pixel and value requests only; `until` and `changed` apply to all requests.
    """

    max_concurrent: int | None = _knob(None, "most requests in flight; others get status 429", least=1)
    qps: float | None = _knob(None, "most requests a second; others get status 429", least=1e-3)
    latency_median: float = _knob(0.0, "median of the log-normal latency, in seconds")
    latency_sigma: float = _knob(0.0, "standard deviation of the logarithm of the latency")
    p_500: float = _knob(0.0, "probability of status 500", most=1)
    p_503: float = _knob(0.0, "probability of status 503", most=1)
    p_dropped: float = _knob(0.0, "probability that the connection is closed without an answer", most=1)
    p_truncated: float = _knob(0.0, "probability that only half of the body is sent", most=1)
    p_hanging: float = _knob(0.0, "probability that there is no answer at all", most=1)
    hang_at: int | None = _knob(
        None, "number of the one request that gets no answer at all, counted since the seed was set", least=1
    )
    max_pixels: int | None = _knob(
        None, "most pixels (width x height) of a request; larger ones exceed the memory limit", least=1
    )
    restricted: bool = _knob(False, "report to clients that the project is in restricted mode")
    gzip: bool = _knob(True, "compress bodies for clients that accept it")
    seed: int = _knob(0, "seed of latency and faults", least=-math.inf)
    until: str | None = _text_knob(
        "day (UTC): images of collections that start on or after it do not exist yet", "2020-03-01", _is_day
    )
    changed: str | None = _text_knob(
        "comma-separated ids of images that were processed again: later updateTime, other pixels",
        "MODIS/061/MOD13Q1/2020_03_05",
        bool,
    )

    def __post_init__(self) -> None:
        for knob in dataclasses.fields(self):
            _check(knob, getattr(self, knob.name))
        if sum(getattr(self, name) for name in FAULTS) > 1 + 1e-9:
            raise Refusal(f"The sum of the probabilities {', '.join(FAULTS)} must be at most 1.")

    def turned(self, changes: dict[str, Any]) -> Knobs:
        """Return the knobs with some of them changed.

        Raises:
            Refusal: A name is unknown, or a value is not valid (status 400).
        """
        unknown = set(changes) - {knob.name for knob in dataclasses.fields(self)}
        if unknown:
            raise Refusal(f"There is no knob {', '.join(map(repr, sorted(unknown)))}.")
        return dataclasses.replace(self, **changes)


FAULTS = ("p_500", "p_503", "p_dropped", "p_truncated", "p_hanging")
"""The knobs that are probabilities of a fault."""


def _kind(knob: dataclasses.Field[Any]) -> type:
    return next(kind for kind in (bool, int, float, str) if kind.__name__ in str(knob.type))


def _check(knob: dataclasses.Field[Any], value: Any) -> None:
    kind = _kind(knob)
    if value is None:
        fits = "None" in str(knob.type)
    elif kind is bool or isinstance(value, bool):
        fits = kind is type(value)
    else:
        fits = isinstance(value, (int, float) if kind is float else kind) and knob.metadata["fits"](value)
    if not fits:
        raise Refusal(f"Knob '{knob.name}' cannot be {value!r}: it must be {knob.type}{knob.metadata['values']}.")


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Add one option for each knob to a command line."""
    for knob in dataclasses.fields(Knobs):
        option = "--" + knob.name.replace("_", "-")
        text, default, kind = knob.metadata["help"], knob.default, _kind(knob)
        if kind is bool:
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=default, help=text)
        else:
            shown = "off" if default is None or (default == 0.0 and knob.name != "seed") else default
            parser.add_argument(option, type=kind, default=default, help=f"{text} (default: {shown})")


def from_arguments(arguments: argparse.Namespace) -> Knobs:
    """Return the knobs of a parsed command line.

    Raises:
        Refusal: A value is not valid (status 400).
    """
    return Knobs(**{knob.name: getattr(arguments, knob.name) for knob in dataclasses.fields(Knobs)})


def to_arguments(changes: dict[str, Any]) -> list[str]:
    """Return the command-line options that set some knobs.

    Raises:
        Refusal: A name is unknown, or a value is not valid (status 400).
    """
    Knobs().turned(changes)
    options: list[str] = []
    for name, value in changes.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{option}" if value else f"--no-{option}")
        elif value is not None:
            options.append(f"--{option}={value}")
    return options
