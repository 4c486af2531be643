"""How bands become 8-bit colours, for PNG and JPEG."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from flows.form_schema import TextOr
from flows.validation import Parameters, form_error
from flows.written_value import csv

LARGEST = 1e18
"""Largest magnitude of a pixel value that a picture may show. It is exact enough for every type of pixels."""
Colour = Annotated[str, Field(pattern=r"^(#?[0-9A-Fa-f]{6}|[A-Za-z]*[G-Zg-z][A-Za-z]*)$")]


class Visualization(Parameters):
    """How bands become 8-bit colours, for PNG and JPEG. Without any value, Earth Engine's own stretch."""

    # Hexadecimal colours are checked here. Earth Engine checks names of colours (CSS).

    min: Annotated[float | None, Field(ge=-LARGEST, le=LARGEST, title="Minimum")] = None
    """Value shown darkest. Empty = 0."""
    max: Annotated[float | None, Field(ge=-LARGEST, le=LARGEST, title="Maximum")] = None
    """Value shown brightest. Empty = 255."""
    palette: Annotated[list[Colour], BeforeValidator(csv), TextOr("array"), Field(title="Palette")] = Field(default=[])
    """Colours for a single band: hexadecimal such as `000000, 00ff00`, or CSS names."""
    gamma: Annotated[float | None, Field(gt=0, le=10, title="Gamma")] = None
    """Gamma correction."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self._range()
        if high <= low:
            raise form_error("visualization.max", high, f"not above min = {low}", "Give a larger maximum")
        return self

    def _range(self) -> tuple[float, float]:
        return 0.0 if self.min is None else self.min, 255.0 if self.max is None else self.max

    @property
    def given(self) -> bool:
        """Whether anything is chosen."""
        return self != Visualization()

    def options(self) -> dict[str, Any]:
        """Return the `VisualizationOptions` of the REST API; nothing if nothing is chosen."""
        if not self.given:
            return {}
        low, high = self._range()
        options: dict[str, Any] = {"ranges": [{"min": low, "max": high}]}
        if self.palette:
            options["paletteColors"] = self.palette
        if self.gamma is not None:
            options["gamma"] = {"value": self.gamma}
        return options
