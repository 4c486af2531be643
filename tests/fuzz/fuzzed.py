"""Run fuzzed inputs through the functions that read them, in a process that is watched from outside."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tasks.errors import QuarryError

# Limits of one input: peak memory of the process in MB, the imports of GDAL and Arrow included, and seconds.
MEMORY_MB, SECONDS = 600, 5.0
# Address space of the process in bytes. It protects the machine, and is far above the limit that is judged.
ADDRESS_SPACE = 6 * 2**30


@dataclass(frozen=True)
class Fuzzed:
    """A kind of input that others can write."""

    make: Callable[[random.Random, Path], Any]
    """Makes one input from a generator of random numbers; files go into the folder."""
    read: Callable[[Any], object]
    """Reads an input as the program does."""


@dataclass
class Outcome:
    """What became of the inputs of one kind."""

    inputs: int = 0
    read: int = 0
    """Number of inputs that were accepted."""
    refused: Counter[str] = field(default_factory=Counter)
    """Number of inputs that were refused, by the type of the error."""
    longest_s: float = 0.0
    memory_mb: float = 0.0
    """Peak memory of the process."""
    findings: list[str] = field(default_factory=list)
    """Inputs, by seed, that raised another error, took too long, took too much memory, or killed the process."""


def run(kind: str, seeds: range) -> Outcome:
    """Make and read one input of a kind for each seed."""
    outcome, left = Outcome(inputs=len(seeds)), seeds
    while left:
        left = _run_in_child(kind, left, outcome)
    return outcome


def _run_in_child(kind: str, seeds: range, outcome: Outcome) -> range:
    """Run seeds in one child process until it is through, or must be replaced; return the seeds that are left."""
    # Forks of a process with nothing but the imports: a fork of pytest would begin with the memory of all tests.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.fuzz.kinds"])
    ours, theirs = context.Pipe()
    child = context.Process(target=_serve, args=(kind, seeds, theirs), daemon=True)
    child.start()
    theirs.close()
    try:
        for done, seed in enumerate(seeds, start=1):
            # To make the first input, a new process may make samples and start others, which is not judged.
            if not ours.poll(SECONDS + (60 if done == 1 else 5)):
                outcome.findings.append(f"seed {seed}: no end")
                return seeds[done:]
            try:
                word, text, seconds, memory_mb = ours.recv()
            except EOFError:
                child.join()
                outcome.findings.append(f"seed {seed}: the process ended with {child.exitcode}")
                return seeds[done:]
            outcome.longest_s = max(outcome.longest_s, seconds)
            outcome.memory_mb = max(outcome.memory_mb, memory_mb)
            if word == "read":
                outcome.read += 1
            elif word == "refused":
                outcome.refused[text] += 1
            else:
                outcome.findings.append(f"seed {seed}: {text}")
            if seconds > SECONDS:
                outcome.findings.append(f"seed {seed}: {seconds:.1f} s")
            if memory_mb > MEMORY_MB:  # a peak never falls: go on in a new process
                outcome.findings.append(f"seed {seed}: {memory_mb:,.0f} MB")
                return seeds[done:]
        return seeds[:0]
    finally:
        if child.is_alive() and child.pid:
            os.kill(child.pid, signal.SIGKILL)
        child.join()


def _peak_mb() -> float:
    # Not `ru_maxrss`: it begins with the memory of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _serve(kind: str, seeds: range, answers: Connection) -> None:
    from tests.fuzz.kinds import KINDS  # it imports the kinds, and they import this module

    fuzzed = KINDS[kind]
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            # A seed for each input: any of them can be made again alone.
            made = fuzzed.make(random.Random(seed), Path(folder))
            begun = time.monotonic()
            word, text = "read", ""
            try:
                fuzzed.read(made)
            except QuarryError as error:
                word, text = "refused", type(error).__name__
            except BaseException:  # noqa: BLE001 - the finding
                word, text = "raw", traceback.format_exc()
            seconds = time.monotonic() - begun
            answers.send((word, text, seconds, _peak_mb()))
