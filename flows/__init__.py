"""The flows, and what starts them: parameters, the order of steps, the command line. The steps are in `tasks`."""

import sys
from importlib.util import find_spec
from pathlib import Path


def _check_tasks() -> None:
    """Check that `tasks` is the package beside this one, without running code of another one.

    Raises:
        ImportError: A module of the user has the same name, and Python finds it first.
    """
    ours = Path(__file__).parents[1] / "tasks" / "__init__.py"
    if "tasks" in sys.modules:
        found = getattr(sys.modules["tasks"], "__file__", None)
    else:
        spec = find_spec("tasks")
        found = spec.origin if spec is not None else None
    if found is not None and Path(found).resolve() != ours.resolve():
        raise ImportError(
            f"{found} hides the package `tasks` of Pixel Quarry, because Python looks there first. Rename it, or start "
            "Python in another folder. The command `pixel-quarry` works in any folder.",
            name=__name__,  # `python -m flows` then prints one line, without a traceback
        )


_check_tasks()
