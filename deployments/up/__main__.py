"""``python -m deployments.up start`` starts the services, as `make up`; ``stop`` stops them, as `make down`."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deployments.up.mark import end, leader
from deployments.up.service import ROOT, Place, Service, UpError, check, launch, provision, until_ready

FOLDER = ROOT / ".cache" / "up"
_EVERY = 10.0  # seconds between two lines about a service that is not ready yet
INTERRUPTED = 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deployments.up", description=__doc__)
    parser.add_argument("action", choices=("start", "stop"))
    parser.add_argument("--port", type=_port, default=4200, help="port of the Prefect server (default: %(default)s)")
    parser.add_argument("--sandbox-port", type=_port, default=9080, help="port of the sandbox (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder for database and logs (default: .cache/up)")
    parser.add_argument("--output", type=Path, default=ROOT / ".up", help="output of the flows (default: .up)")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port. Give a number from 1 to 65535")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Start or stop the services.

    Returns:
        The exit code: 0 success, 1 a port is taken or the start or stop failed, 130 Ctrl-C.
    """
    given = _parser().parse_args(arguments)
    folder = given.folder.resolve()
    try:
        if given.action == "stop":
            return stop(folder)
        return start(Place(folder, given.port, given.sandbox_port), given.output.resolve())
    except (UpError, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1


def start(place: Place, output: Path) -> int:
    """Start the services that are not running, provision the server, and print the addresses.

    Returns:
        The exit code: 0 success, 130 Ctrl-C.

    Raises:
        UpError: A port is taken, or a start failed. Services that were started have been stopped again.
    """
    check(place)
    (place.folder / "prefect").mkdir(parents=True, exist_ok=True)
    server, sandbox, worker = place.services()
    missing = [it for it in (server, sandbox, worker) if leader(place.folder, it.name, it.command) is None]
    children = []
    try:
        for group in ((server, sandbox), (worker,)):
            children += [_launch(service, place) for service in group if service in missing]
            for service in group:
                _wait(service, place)
            if worker not in group:
                provision(place, output)
    except BaseException as error:
        for service in reversed(missing):
            end(place.folder, service.name)
        for child in children:
            child.wait()
        if isinstance(error, KeyboardInterrupt):
            print("Interrupted. The services that were started are stopped.", file=sys.stderr)
            return INTERRUPTED
        raise
    _print_places(place, output, [service.name for service in missing])
    return 0


def _launch(service: Service, place: Place) -> subprocess.Popen[bytes]:
    hint = " (the first time, its database takes a minute or two)" if service.name == "server" else ""
    print(f"Starting the {service.name}{hint}", flush=True)
    return launch(service, place)


def _wait(service: Service, place: Place) -> None:
    printed = 0.0
    for seconds in until_ready(service, place):
        if seconds >= printed + _EVERY:
            print(f"  the {service.name} is not ready yet ({seconds:.0f} s)", flush=True)
            printed = seconds


def _print_places(place: Place, output: Path, started: list[str]) -> None:
    print(f"\nStarted: {', '.join(started)}." if started else "\nAll services were up already.")
    print(f"  Prefect UI  {place.url}")
    for service in place.services()[1:]:
        print(f"  {service.name.capitalize():<10}  {service.address}")
    print(f"  {'Logs':<10}  {_short(place.folder)}/*.log")
    print(f"  {'Output':<10}  {_short(output)}")
    print("`make down` stops them.")


def _short(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def stop(folder: Path) -> int:
    """Stop the running services: the worker before the server, so that its runs can still report how they ended.

    Raises:
        TimeoutError: A process does not end.
    """
    counts = {name: end(folder, name) for name in ("provision", "worker", "sandbox", "server")}
    if not any(counts.values()):
        print("No service is up.")
        return 0
    stopped = ", ".join(name for name, count in counts.items() if count)
    print(f"Stopped: {stopped} ({sum(counts.values())} processes). `make clean` removes database, logs and output.")
    return 0


if __name__ == "__main__":
    # A closed terminal or a cancelled CI job stops the services that were started, as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    sys.exit(main())
