"""``make chaos``: a job of 2,000 tiles at quota 40 is killed with ``kill -9`` at 20 random moments, in a folder and in
a bucket, each time started again with the same command; some times the Prefect server is restarted meanwhile.

At the end every tile must equal that of an uninterrupted run byte for byte, at most 40 tiles a kill may have been
fetched for nothing, no temporary file may remain, the slots of the quota must have been free again within 90 s of each
kill, and no run may stay `Running`. ``CHAOS_TILES``, ``CHAOS_KILLS`` and ``CHAOS_SEED`` say otherwise.

Before it, three processes work on one run under one limit (`tests.chaos.processes`): together they never pass it, and
the slots of one that is killed come back to the others.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

from deployments.sandbox.process import running
from tests.bench import work
from tests.bench.server import QUOTA, Control, free_port, prefect_server
from tests.chaos import processes
from tests.chaos.job import Job, contents, kill_at_random
from tests.chaos.place import Bucket, Folder, Place

LOST_A_KILL, FREED_S, CRASHED_S = 40, 90.0, 240.0


class Server:
    """A Prefect server that can be restarted at its address."""

    def __init__(self, home: Path) -> None:
        self._home, self._port = home, free_port()
        self._lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self._port}/api"
        self._running = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._home.mkdir()
        self._running.enter_context(prefect_server(self._home, port=self._port))
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def restart(self) -> None:
        """End it, and start it again."""
        with self._lock:
            self._running.close()
            self._running.enter_context(prefect_server(self._home, port=self._port))


def chaos(place: Place, folder: Path, *, tiles: int, kills: int, seed: int) -> dict[str, Any]:
    """Do it in one place; return what came of it."""
    points = work.write_points(folder / "points.csv", tiles)
    with running() as url, Server(folder / "prefect") as server:
        control = Control(url)
        control.begin(seed=seed, **QUOTA)
        with place.opened(folder, server.url) as (output, whole, settings):
            shared = {"control": control, "prefect": server.url, "points": points, "project": "my-project"}
            job = Job(output=output.address, store=output.store, settings=settings, log=folder / "job.log", **shared)
            done = kill_at_random(job, tiles=tiles, kills=kills, seed=seed, restart_server=server.restart)
            job.finish()
            fetched = job.succeeded()
            again_s = job.finish()
            repeated = job.succeeded() - fetched
            uninterrupted = Job(
                output=whole.address, store=whole.store, settings=settings, log=folder / "whole.log", **shared
            )
            uninterrupted.finish()
            ours, theirs = contents(output.store), contents(whole.store)
            end = time.monotonic() + CRASHED_S
            while (states := job.states()).count("Running") and time.monotonic() < end:
                time.sleep(2)
    freed = [kill.freed_s for kill in done if kill.freed_s is not None]
    left = [path.name for path in folder.rglob("*") if path.name.endswith(".part") or path.name == ".work"]
    return {
        "place": place.name,
        "tiles": tiles,
        "kills": kills,
        "requests": fetched,
        "allowed": tiles + LOST_A_KILL * kills,
        "equal": ours == theirs and len(ours) == tiles,
        "requests_of_a_rerun": repeated,
        "rerun_s": round(again_s, 1),
        "left_over": left,
        "slots_free_s": {"median": round(sorted(freed)[len(freed) // 2], 1), "worst": round(max(freed), 1)},
        "server_restarts": sum(kill.server_restarted for kill in done),
        "states": {state: states.count(state) for state in sorted(set(states))},
        "killed_at": [[round(kill.at_s, 1), kill.succeeded] for kill in done],
    }


def wrong(row: dict[str, Any]) -> list[str]:
    """What is not as it must be."""
    laws = {
        "every tile equals that of an uninterrupted run": row["equal"],
        "no more requests than allowed": row["requests"] <= row["allowed"],
        "a rerun fetches nothing": row["requests_of_a_rerun"] == 0,
        "no temporary file remains": not row["left_over"],
        f"slots are free within {FREED_S:.0f} s": row["slots_free_s"]["worst"] <= FREED_S,
        "no run stays Running": "Running" not in row["states"],
    }
    return [law for law, holds in laws.items() if not holds]


def one_run(folder: Path) -> bool:
    """Let three processes share one limit; return whether all laws hold."""
    row = processes.main(folder)
    laws = {
        "the limit is never passed": row["peak"] <= row["limit"],
        "every tile is stored": row["stored"] == row["tiles"],
        f"slots are back within {FREED_S:.0f} s": row["slots_back_s"] <= FREED_S,
        "what was in flight is asked for twice, and no more": row["requests"] <= row["tiles"] + 2 * row["limit"],
    }
    broken = [law for law, holds in laws.items() if not holds]
    print(
        json.dumps({"place": "processes"} | row), "\n", "FAIL: " + "; ".join(broken) if broken else "pass", flush=True
    )
    return not broken


def main(names: list[str]) -> int:
    """Do it in all places at the same time, each with servers of its own."""
    failed = 0
    if not names or "processes" in names:
        with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
            failed += not one_run(Path(folder))
    tiles, kills = int(os.environ.get("CHAOS_TILES", "2000")), int(os.environ.get("CHAOS_KILLS", "20"))
    seed = int(os.environ.get("CHAOS_SEED", "0"))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        threads = []
        for place in (Folder(), Bucket()):
            if not names or place.name in names:
                own = Path(folder) / place.name
                own.mkdir()

                def one(place: Place = place, own: Path = own) -> None:
                    try:
                        rows.append(chaos(place, own, tiles=tiles, kills=kills, seed=seed))
                    except Exception as error:  # noqa: BLE001 - the other place goes on
                        rows.append({"place": place.name, "error": repr(error)})

                threads.append(threading.Thread(target=one))
                threads[-1].start()
        for thread in threads:
            thread.join()
    for row in rows:
        broken = [row["error"]] if "error" in row else wrong(row)
        failed += bool(broken)
        print(json.dumps(row), "\n", "FAIL: " + "; ".join(broken) if broken else "pass", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
