"""All exceptions of ours have one root, and cross processes as they are."""

import importlib
import inspect
import pickle
import pkgutil

import pytest

import flows
import tasks
from tasks.errors import QuarryError


def modules():
    for package in (flows, tasks):
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


KINDS = {
    f"{kind.__module__}.{kind.__name__}": kind
    for module in modules()
    for kind in vars(module).values()
    if inspect.isclass(kind) and issubclass(kind, BaseException) and kind.__module__ == module.__name__
}


def test_there_are_some():
    assert {"InputError", "EarthEngineError", "StorageError", "CorruptPixelsError", "OutOfReach", "RunCancelled"} <= {
        kind.__name__ for kind in KINDS.values()
    }
    assert len(KINDS) > 20


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_every_exception_has_the_one_root_and_pickles(kind):
    assert issubclass(kind, QuarryError)
    needed = [
        name
        for name, given in list(inspect.signature(kind.__init__).parameters.items())[1:]
        if given.default is given.empty and given.kind is given.POSITIONAL_OR_KEYWORD
    ]
    error = kind(*(needed or ["message"]))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
    assert any(word in str(again) for word in needed or ["message"])
