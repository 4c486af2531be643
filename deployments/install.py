"""Install the locked packages into a virtual environment, with a line of progress every few seconds.

The Makefile runs this file with the Python of the machine, before anything is installed: it imports the standard
library alone.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

EVERY = 5.0  # seconds between two lines
PIP = ("install", "--disable-pip-version-check", "--progress-bar=off", "--require-hashes", "--no-deps", "-r")


def packages(lock: str) -> int:
    """Return the number of packages of a lock."""
    return sum("==" in line for line in lock.splitlines() if line[:1].isalnum())


def status(fetched: int, installed: int, total: int) -> str:
    """Return what is said of an install that is at work: pip fetches all packages first, then installs them."""
    if fetched < total:
        return f"{fetched} of {total} packages are downloaded"
    return f"all packages are downloaded, {min(installed, total)} of {total} are installed"


def main(venv: Path, lock: Path) -> int:
    """Install a lock, and print how far it is.

    Returns:
        The exit code of pip.
    """
    total = packages(lock.read_text(encoding="utf-8"))
    print(
        f"The first time, {total} packages (1.5 GB on disk) are installed into {venv}: 2 to 5 minutes. "
        "Later starts skip this.",
        flush=True,
    )
    fetched, begun = [0], time.monotonic()
    before = _installed(venv)
    python = venv / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    command = [str(python), "-m", "pip", *PIP, str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="replace") as pip:
        reader = threading.Thread(target=_count, args=(pip, fetched))
        reader.start()
        while pip.poll() is None:
            try:
                pip.wait(EVERY)
            except subprocess.TimeoutExpired:
                text = status(fetched[0], _installed(venv) - before, total)
                print(f"  {time.monotonic() - begun:3.0f} s: {text}", flush=True)
        reader.join()
    if pip.returncode == 0:
        print(f"  {time.monotonic() - begun:3.0f} s: installed", flush=True)
    return pip.returncode


def _count(pip: subprocess.Popen[str], fetched: list[int]) -> None:
    """Count the packages that pip has begun to fetch. It prints its errors to stderr, which is the terminal's."""
    assert pip.stdout is not None
    for line in pip.stdout:
        if line.startswith(("Collecting ", "Processing ")):
            fetched[0] += 1
        elif line.startswith("Installing "):
            fetched[0] = sys.maxsize


def _installed(venv: Path) -> int:
    return sum(1 for _ in venv.glob("**/site-packages/*.dist-info"))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
