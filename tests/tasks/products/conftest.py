"""Stores of each kind, as the tests of stores have them."""

from tests.tasks.storage.conftest import client, emulated, place, service, store

__all__ = ["client", "emulated", "place", "service", "store"]
