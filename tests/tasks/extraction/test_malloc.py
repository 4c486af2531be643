"""Memory is returned to the system, whatever the libraries of a run are doing."""

import sys
from types import ModuleType

from tasks.extraction import malloc


def test_memory_is_returned_while_another_thread_imports_arrow(monkeypatch):
    begun = ModuleType("pyarrow")  # as in sys.modules when its import has begun
    monkeypatch.setitem(sys.modules, "pyarrow", begun)
    malloc.trim()

    released = []
    begun.default_memory_pool = type("Pool", (), {"release_unused": lambda _: released.append(True)})
    malloc.trim()
    assert released
