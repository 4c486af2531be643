"""Prefect's client, which waits a part of the time that it would before it repeats a request."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import prefect.client.base


class Hurried:
    """A module whose sleep is a part of what is asked for."""

    def __init__(self, module: ModuleType, by: float) -> None:
        self._module, self._by = module, by

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def sleep(self, seconds: float) -> Any:
        return self._module.sleep(seconds / self._by)


def hurry(replace: Callable[[Any, str, Any], object], *, by: float = 10) -> None:
    """Hurry the client of this process.

    Args:
        replace: Sets an attribute, such as `setattr`.
        by: It waits for one part of so many.
    """
    for name in ("time", "anyio"):
        replace(prefect.client.base, name, Hurried(getattr(prefect.client.base, name), by))
