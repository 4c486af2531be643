"""Marks of processes: they show which processes belong to `make up`, even after their parent was killed.

The mark is an environment variable. Child processes inherit it, including those in a session of their own (the worker's
flow runs). There is no file of process ids that could be out of date: children of a killed parent are found, and a
process that has got the id of a dead one is not mistaken for it.
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
_KILL_S = 5.0  # seconds; a killed process ends sooner, unless it waits for the disk


@dataclass(frozen=True)
class Mark:
    """The mark of a process: the service to which it belongs.

    Attributes:
        service: Name of the service that the process runs, or is a child of.
        ports: Ports of the server and of the sandbox.
        folder: Folder with the data of the services. Each set of services has its own.
    """

    service: str
    ports: tuple[int, int]
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment variable that marks a process."""
        return {_VARIABLE: f"{self.service} {self.ports[0]} {self.ports[1]} {self.folder}"}


def marked(folder: Path, service: str | None = None) -> list[tuple[psutil.Process, Mark]]:
    """Return the running processes with a mark of a folder, except this process.

    Args:
        folder: Absolute path of the folder in the mark.
        service: Name of the service; None = all services.
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
    except (psutil.Error, OSError):  # the process of another user, a zombie, or ended
        return None
    fields = text.split(maxsplit=3)
    if len(fields) != 4 or not (fields[1].isdecimal() and fields[2].isdecimal()):
        return None
    return Mark(fields[0], (int(fields[1]), int(fields[2])), Path(fields[3]))


def leader(folder: Path, service: str, command: Sequence[str]) -> psutil.Process | None:
    """Return the process that runs a service itself; None if it has ended, even if children of it still run."""
    for process, _ in marked(folder, service):
        try:
            if process.cmdline()[1:] == list(command[1:]):
                return process
        except psutil.Error:  # it has just ended
            continue
    return None


def end(folder: Path, service: str, patience: float = 30.0) -> int:
    """End all processes of a service: by SIGTERM, then by SIGKILL if they still run after some seconds.

    Children are ended first: a worker that ends would kill its flow runs before they can report.

    Args:
        folder: Folder in the mark.
        service: Name of the service.
        patience: Seconds that the children have to end, and then the other processes.

    Returns:
        The number of processes that were found.

    Raises:
        TimeoutError: A process still runs after SIGKILL.
    """
    found = _processes(folder, service)
    children = found & {child for process in found for child in _children(process)}
    _ask(children, patience)
    _ask(_processes(folder, service), patience)
    deadline = time.monotonic() + _KILL_S
    while left := _processes(folder, service):  # repeated, because a process may have started another
        if time.monotonic() > deadline:
            numbers = ", ".join(str(process.pid) for process in left)
            raise TimeoutError(f"Processes {numbers} of the {service} do not end, even after SIGKILL.")
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
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended; psutil also notices that its id is used again
            process.terminate()
    deadline = time.monotonic() + patience
    while any(_read(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.1)
