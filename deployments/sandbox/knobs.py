"""The knobs: how busy, slow and faulty the sandbox is. All of them are off by default."""

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

    told = "" if isinstance(default, bool) else f", {least:g} to {most:g}"
    return field(default=default, metadata={"help": text, "fits": fits, "told": told})


def _text_knob(text: str, example: str, fits: Callable[[str], bool]) -> Any:
    return field(default=None, metadata={"help": text, "fits": fits, "told": f", such as {example}"})


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """Quota, latency and faults, of pixel and value requests alone; and which images there are, for all requests."""

    max_concurrent: int | None = _knob(None, "requests in flight above which others get 429", least=1)
    qps: float | None = _knob(None, "requests a second above which others get 429", least=1e-3)
    latency_median: float = _knob(0.0, "median of the log-normal latency, seconds")
    latency_sigma: float = _knob(0.0, "sigma of its logarithm")
    p_500: float = _knob(0.0, "probability of status 500", most=1)
    p_503: float = _knob(0.0, "probability of status 503", most=1)
    p_dropped: float = _knob(0.0, "probability of a connection closed without an answer", most=1)
    p_truncated: float = _knob(0.0, "probability of a body cut in half", most=1)
    p_hanging: float = _knob(0.0, "probability of no answer at all", most=1)
    max_pixels: int | None = _knob(None, "pixels (width x height) above which memory is exceeded", least=1)
    restricted: bool = _knob(False, "tell clients that the project is in restricted mode")
    gzip: bool = _knob(True, "compress bodies for clients that accept it")
    seed: int = _knob(0, "seed of latency and faults", least=-math.inf)
    until: str | None = _text_knob(
        "day (UTC) from which on the images of collections are not there yet", "2020-03-01", _is_day
    )
    changed: str | None = _text_knob(
        "ids of images, comma-separated, that were processed anew: later updateTime, other pixels",
        "MODIS/061/MOD13Q1/2020_03_05",
        bool,
    )

    def __post_init__(self) -> None:
        for knob in dataclasses.fields(self):
            _check(knob, getattr(self, knob.name))
        if sum(getattr(self, name) for name in FAULTS) > 1 + 1e-9:
            raise Refusal(f"The probabilities {', '.join(FAULTS)} must add up to at most 1.")

    def turned(self, changes: dict[str, Any]) -> Knobs:
        """Return the knobs with some of them changed.

        Raises:
            Refusal: 400, for an unknown name or a value that does not fit.
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
        raise Refusal(f"Knob '{knob.name}' cannot be {value!r}: it is {knob.type}{knob.metadata['told']}.")


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Give a command line one option for each knob."""
    for knob in dataclasses.fields(Knobs):
        option = "--" + knob.name.replace("_", "-")
        text, default, kind = knob.metadata["help"], knob.default, _kind(knob)
        if kind is bool:
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=default, help=text)
        else:
            shown = "off" if default in (None, 0.0) else default
            parser.add_argument(option, type=kind, default=default, help=f"{text} (default: {shown})")


def from_arguments(arguments: argparse.Namespace) -> Knobs:
    """Return the knobs of a parsed command line.

    Raises:
        Refusal: 400, for a value that does not fit.
    """
    return Knobs(**{knob.name: getattr(arguments, knob.name) for knob in dataclasses.fields(Knobs)})


def to_arguments(changes: dict[str, Any]) -> list[str]:
    """Return the command line options that set some knobs.

    Raises:
        Refusal: 400, for an unknown name or a value that does not fit.
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
