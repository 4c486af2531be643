"""A process that has imported the flows, and runs each job in a fork of itself: a job then starts in no time.

``python -m tests.chaos.forkserver`` reads one job (a :class:`Job` as JSON) from each line of standard input, prints the
id of its process, and later its exit status. The process of a job is like one of the command line: the same
standard error, signals, threads and exit.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import queue
import runpy
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from tasks.errors import QuarryError
from tests.hurry import hurry

ROOT = Path(__file__).resolve().parents[2]
LOOK_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job."""

    how: str
    """`command`: `words` on the command line. `adhoc`: call of `flows.adhoc`. `worker`: a deployment's flow run."""
    folder: str
    """Where `stdout`, `stderr` and `end.json` of the job go."""
    words: list[str] = field(default_factory=list)
    """Words of a command line, or the name of a function of `flows.adhoc`."""
    given: dict[str, Any] = field(default_factory=dict)
    """Arguments of that function."""
    settings: dict[str, str] = field(default_factory=dict)
    """Environment of the process, Prefect's settings included."""
    values: dict[str, Any] = field(default_factory=dict)
    """Values of constants, such as `tasks.prefect_io.server:ANSWER_S`. One that does not exist is left out."""
    hurried: bool = True
    """Whether Prefect's client waits a tenth as long as it would before it repeats a request."""


def _run(job: Job) -> None:
    """Run a job in this process, and write how it ended: returned, left with a code, or raised."""
    os.environ.update(job.settings)
    import prefect.context

    prefect.context.refresh_global_settings_context()
    for name, value in job.values.items():
        module, _, constant = name.partition(":")
        owner: Any = importlib.import_module(module)
        *classes, constant = constant.split(".")
        with contextlib.suppress(AttributeError):
            for each in classes:
                owner = getattr(owner, each)
            getattr(owner, constant)
            setattr(owner, constant, value)
    if job.hurried:
        hurry(setattr)
    end: dict[str, Any] = {"how": "returned"}
    try:
        if job.how == "command":
            from flows.command_line import run

            run(job.words)
        elif job.how == "adhoc":
            from flows import adhoc

            sys.stdout.write(getattr(adhoc, job.words[0])(**job.given).model_dump_json())
        else:
            from tasks.prefect_io.start_watch import watch_start

            watch_start()  # as the import of the flow does in a process of its own
            sys.argv = ["prefect.engine", job.settings["PREFECT__FLOW_RUN_ID"]]
            sys.modules.pop("prefect.engine")
            runpy.run_module("prefect.engine", run_name="__main__")  # as a worker's `python -m prefect.engine`
    except SystemExit as error:
        end = {"how": "left", "code": error.code}
        raise
    except BaseException as error:
        kind = type(error)
        end = {
            "how": "raised",
            "type": f"{kind.__module__}.{kind.__qualname__}",
            "ours": isinstance(error, QuarryError) or kind.__name__ in {"CancelledRun", "KeyboardInterrupt"},
            "message": str(error)[:2000],
        }
        raise
    finally:
        Path(job.folder, "end.json").write_text(json.dumps(end | {"modules": sorted(sys.modules)}))


def _begin(job: Job) -> None:
    """Make a fork the process of a job."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # it ends with this process
    os.setsid()
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        file = os.open(Path(job.folder, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _run(job)


def _import_what_was_used(job: Job) -> None:
    """Import what a job has imported, so that the next job need not."""
    with contextlib.suppress(OSError, ValueError):
        for name in json.loads(Path(job.folder, "end.json").read_text()).pop("modules"):
            if name not in sys.modules and not name.startswith(("__", "tests")):
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)


def main() -> None:
    """Serve jobs until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for name in ("region", "patches", "timeseries", "adhoc", "command_options", "garbage_collection", "progress_bar"):
        importlib.import_module(f"flows.{name}")
    importlib.import_module("prefect.flow_engine")
    print("ready", file=answers)
    running: dict[int, Job] = {}
    rest, over = "", False
    while not over or running:
        if not over and select.select([0], [], [], LOOK_S)[0]:
            read = os.read(0, 2**16).decode()
            over = not read
            *lines, rest = (rest + read).split("\n")
            for line in lines:
                job = Job(**json.loads(line))
                pid = os.fork()
                if not pid:
                    answers.close()
                    _begin(job)
                    return
                running[pid] = job
                print("begun", pid, file=answers)
        pid, status = os.waitpid(-1, os.WNOHANG) if running else (0, 0)
        if pid:
            print("ended", pid, os.waitstatus_to_exitcode(status), file=answers)
            _import_what_was_used(running.pop(pid))


class ForkServer:
    """The process above, as its users see it. Safe in threads."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "tests.chaos.forkserver"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=dict(settings), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lock = threading.Lock()
        self._begun: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._codes: dict[int, int] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        if self._process.stdout.readline() != "ready\n":
            self.__exit__()
            raise RuntimeError("The fork server did not start.")
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait()
        if self._reader.is_alive():
            self._reader.join()
        self._process.stdout.close()

    def start(self, job: Job) -> int:
        """Start a job; return the id of its process."""
        with self._lock:
            self._process.stdin.write(json.dumps(asdict(job)) + "\n")
            self._process.stdin.flush()
            return self._begun.get(timeout=300)

    def code(self, pid: int) -> int | None:
        """Return the exit status of a job's process, once; None if it has not ended."""
        if pid not in self._codes and self._process.poll() is not None:
            raise RuntimeError("The fork server has ended.")
        return self._codes.pop(pid, None)

    def _read(self) -> None:
        for line in self._process.stdout:
            what, pid, *code = line.split()
            if what == "begun":
                self._begun.put(int(pid))
            else:
                self._codes[int(pid)] = int(code[0])


if __name__ == "__main__":
    main()
