"""The knobs: how busy, slow and faulty the sandbox is. All of them are off by default."""

from __future__ import annotations

import argparse
import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from deployments.sandbox.refusal import Refusal


def _knob(default: Any, text: str, *, least: float = 0, most: float = math.inf) -> Any:
    return field(default=default, metadata={"help": text, "least": least, "most": most})


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """Quota, latency, faults. They concern pixel and value requests, not listings and metadata."""

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

    def __post_init__(self) -> None:
        for knob in dataclasses.fields(self):
            value = getattr(self, knob.name)
            _check(knob.name, value, knob.type, knob.metadata["least"], knob.metadata["most"])
        if sum(getattr(self, name) for name in FAULTS) > 1 + 1e-9:
            raise Refusal(f"The probabilities {', '.join(FAULTS)} must add up to at most 1.")

    def changed(self, changes: dict[str, Any]) -> Knobs:
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


def _check(name: str, value: Any, kind: Any, least: float, most: float) -> None:
    text = str(kind)
    if value is None:
        fits = "None" in text
    elif "bool" in text:
        fits = isinstance(value, bool)
    elif "int" in text:
        fits = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    else:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        fits = fits and least <= value <= most
    if not fits:
        bounds = "" if text == "bool" else f", {least:g} to {most:g}"
        raise Refusal(f"Knob '{name}' cannot be {value!r}: it is {text}{bounds}.")


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Give a command line one option for each knob."""
    for knob in dataclasses.fields(Knobs):
        option = "--" + knob.name.replace("_", "-")
        text, default = knob.metadata["help"], knob.default
        if isinstance(default, bool):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=default, help=text)
        else:
            kind = int if "int" in str(knob.type) else float
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
    Knobs().changed(changes)
    options: list[str] = []
    for name, value in changes.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{option}" if value else f"--no-{option}")
        elif value is not None:
            options.append(f"--{option}={value}")
    return options
