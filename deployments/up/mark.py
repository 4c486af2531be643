"""Processes with a mark: found whatever became of what started them, and told apart from everybody else's.

The mark is an environment variable, which children inherit, also those in a session of their own (the worker's flow
runs). Nothing is written down that could be out of date: what a killed parent left behind is found, and a process that
was given a dead one's number is not.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_VARIABLE = "PIXEL_QUARRY_UP"
_KILL_S = 5.0  # a killed process is gone sooner, unless the disk holds it


@dataclass(frozen=True)
class Mark:
    """What a process belongs to.

    Attributes:
        service: Name of the service that it is, or is a child of.
        ports: Those of the server and the sandbox.
        folder: Where the services keep their data; two sets of services have two folders.
    """

    service: str
    ports: tuple[int, int]
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variable that marks a process."""
        return {_VARIABLE: f"{self.service} {self.ports[0]} {self.ports[1]} {self.folder}"}


def marked(folder: Path, service: str | None = None) -> list[tuple[psutil.Process, Mark]]:
    """Return the running processes with a mark of a folder, but for this one.

    Args:
        folder: Absolute path.
        service: Only this one's; None = all.
    """
    found = []
    for process in psutil.process_iter():
        mark = _read(process)
        if mark and mark.folder == folder and service in {None, mark.service} and process.pid != os.getpid():
            found.append((process, mark))
    return found


def _read(process: psutil.Process) -> Mark | None:
    try:
        text = process.environ().get(_VARIABLE, "")
    except (psutil.Error, OSError):  # another user's, a zombie, or gone
        return None
    fields = text.split(maxsplit=3)
    if len(fields) != 4 or not (fields[1].isdecimal() and fields[2].isdecimal()):
        return None
    return Mark(fields[0], (int(fields[1]), int(fields[2])), Path(fields[3]))


def leader(folder: Path, service: str, command: Sequence[str]) -> psutil.Process | None:
    """Return the process that runs a service, or None: its children may live without it."""
    for process, _ in marked(folder, service):
        try:
            if process.cmdline()[1:] == list(command[1:]):
                return process
        except psutil.Error:  # gone since
            continue
    return None


def end(folder: Path, service: str, patience: float = 30.0) -> int:
    """End all processes of a service: SIGTERM, and SIGKILL for what is left after some seconds.

    Children come first: a worker that ends takes its flow runs along before they could report.

    Args:
        folder: Of the mark.
        service: Its name.
        patience: Seconds that children, and then the others, have to end.

    Returns:
        How many processes were found.

    Raises:
        TimeoutError: some run on even so.
    """
    found = _processes(folder, service)
    children = found & {child for process in found for child in _children(process)}
    _ask(children, patience)
    _ask(_processes(folder, service), patience)
    deadline = time.monotonic() + _KILL_S
    while left := _processes(folder, service):  # again and again: one may have started another meanwhile
        if time.monotonic() > deadline:
            numbers = ", ".join(str(process.pid) for process in left)
            raise TimeoutError(f"Processes {numbers} of the {service} do not end, not even by SIGKILL.")
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.1)
    return len(found)


def _processes(folder: Path, service: str) -> set[psutil.Process]:
    return {process for process, _ in marked(folder, service)}


def _children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return process.children()
    return []


def _ask(processes: set[psutil.Process], patience: float) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # as for one whose number another has by now
            process.terminate()
    deadline = time.monotonic() + patience
    while any(_read(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.1)
