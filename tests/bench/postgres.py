"""A PostgreSQL cluster for as long as a block, in a temporary folder and on loopback."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.server import free_port

# Debian leaves the server's programs out of the search path.
PLACES = "usr/lib/postgresql/*/bin/initdb"
START_S = 60.0


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, the newest if there are several."""
    on_path = shutil.which("initdb")
    found = [on_path] if on_path else sorted(Path("/").glob(PLACES), key=lambda path: float(path.parts[-3]))
    return Path(found[-1]).resolve().parent if found else None


def missing() -> str | None:
    """Return what there is to do before a cluster can run, if anything."""
    return None if programs() else "PostgreSQL is not installed (apt-get install postgresql)"


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """Run a new cluster with PostgreSQL's own settings; yields the URL of its database as Prefect takes it.

    The database is UTF-8 and its owner's password random: other accounts of the machine reach loopback too.

    Raises:
        RuntimeError: If PostgreSQL is not installed, or does not start.
    """
    folder_of = programs()
    if folder_of is None:
        raise RuntimeError(missing())
    account = _account()
    with tempfile.TemporaryDirectory(prefix="bench-postgres-", ignore_cleanup_errors=True) as name:
        folder, password, port = Path(name), secrets.token_hex(16), free_port()
        secret, data = folder / "password", folder / "data"
        secret.write_text(password)
        if account:
            for path in (folder, secret):
                os.chown(path, account.pw_uid, account.pw_gid)
        with (folder / "log").open("ab") as log:
            make = [folder_of / "initdb", f"--pgdata={data}", "--username=prefect", f"--pwfile={secret}"]
            make += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"]
            serve = [folder_of / "postgres", "-D", data, "-c", "listen_addresses=127.0.0.1", "-c", f"port={port}"]
            serve += ["-c", "unix_socket_directories="]
            if subprocess.run(_as(account, make), cwd=folder, stdout=log, stderr=log, check=False).returncode:
                raise RuntimeError(f"initdb failed:\n{(folder / 'log').read_text()[-2000:]}")
            process = subprocess.Popen(_as(account, serve), cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_until_ready(process, [folder_of / "pg_isready", "--quiet", "--host=127.0.0.1", f"--port={port}"])
            if process.poll() is not None:
                raise RuntimeError(f"PostgreSQL did not start:\n{(folder / 'log').read_text()[-2000:]}")
            yield f"postgresql+asyncpg://prefect:{password}@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)  # it ends its sessions, then itself
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGQUIT)  # at once; after SIGKILL its children would stay a while
                process.wait()


def _account() -> pwd.struct_passwd | None:
    """Return whose the cluster is to be if this is root, whom PostgreSQL refuses."""
    if os.geteuid() != 0:
        return None
    accounts = {account.pw_name: account for account in pwd.getpwall()}
    return accounts.get("postgres") or accounts["nobody"]


def _as(account: pwd.struct_passwd | None, command: list) -> list:
    """Return a command as an account's, which is interrupted when this process ends, killed ones too."""
    whose = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"] if account else []
    return ["setpriv", *whose, "--pdeathsig=INT", *command]


def _wait_until_ready(process: subprocess.Popen, ask: list) -> None:
    end = time.monotonic() + START_S
    while process.poll() is None and subprocess.run(ask, check=False).returncode:
        if time.monotonic() > end:
            raise RuntimeError(f"PostgreSQL did not start within {START_S:.0f} s")
        time.sleep(0.1)
