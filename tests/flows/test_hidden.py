"""A user's own `tasks.py` hides ours where Python looks in the current folder first: one message names it."""

import subprocess
import sys

import pytest


@pytest.fixture
def own(tmp_path):
    """A module of the user that would show that its code was run."""
    file = tmp_path / "tasks.py"
    file.write_text("print('its code ran')\n")
    return file


def python(folder, *words):
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_the_command_line_names_the_file_in_one_line(own):
    done = python(own.parent, "-m", "flows", "region")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert f"{own} hides the package `tasks` of Pixel Quarry" in done.stderr
    assert "`pixel-quarry` works in any folder" in done.stderr


def test_a_notebook_beside_it_gets_the_same_message_also_after_it_has_imported_its_own(own):
    code = """
for first in ("", "import tasks"):
    exec(first)
    try:
        from flows import adhoc
    except ImportError as error:
        print(error)
"""
    done = python(own.parent, "-c", code)
    first, ran, second = done.stdout.splitlines()
    assert first == second
    assert first.startswith(f"{own} hides the package `tasks` of Pixel Quarry")
    assert ran == "its code ran"
