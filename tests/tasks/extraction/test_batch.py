"""Laws of a batch: it runs in any process, twice or beside itself, and a killed one is taken up where it was."""

import json
import os
import pickle
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from pydantic import ValidationError

from tasks.earthengine.connection import Connection, ConnectionReference
from tasks.earthengine.errors import Denied, Rejected
from tasks.errors.input import BadInputError
from tasks.extraction import batch as batch_module
from tasks.extraction.batch import Batch, begin_batch, open_batch, run_batch
from tasks.extraction.checkpoint import Checkpoint, read_checkpoint
from tasks.extraction.permits import Pace
from tasks.extraction.plain_opener import PLAIN
from tasks.extraction.quota import FixedShare
from tasks.extraction.session import FetchSession
from tasks.extraction.stored_plan import open_plan, remember_plan
from tasks.plan.plan import TileFormat
from tasks.storage.address import open_store
from tasks.storage.store import StorageError
from tests.tasks.extraction.batches import IN_FLIGHT, SHARE, batch_of, statistics, stored

# Threads that store what was answered, beside those that wait: see `tasks.extraction.session`.
STORING = 4

CHILD = """
import json, sys
from tasks.extraction.batch import Batch, run_batch
from tasks.extraction.quota import FixedShare
summary = run_batch(Batch.model_validate_json(sys.argv[1]), FixedShare(in_flight=int(sys.argv[2]), of=int(sys.argv[2])))
print(json.dumps(summary | {"prefect": "prefect" in sys.modules}))
"""


def start(batch):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, batch.model_dump_json(), str(IN_FLIGHT)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"EARTHENGINE_PROJECT": ""},
    )


def ended(process):
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()[-2000:]
    return json.loads(out)


def tiles_of(address):
    store = open_store(address)
    return {found.key: store.get(found.key) for found in store.list("tiles/")}


def test_a_batch_is_a_small_value_without_a_secret(plan):
    batch = batch_of(plan, "gs://" + "b" * 60 + "/" + "p" * 100, "https://earthengine-highvolume.googleapis.com")
    full = batch.model_copy(update={"workload_tag": "t" * 63, "run_id": "f" * 36})
    assert Batch.model_validate_json(full.model_dump_json()) == full
    assert pickle.loads(pickle.dumps(full)) == full
    assert len(full.model_dump_json()) < 1000
    assert len(pickle.dumps(full)) < 1024


def test_a_connection_is_named_and_its_key_stays_where_it_is():
    key = object()
    block = Connection(project="my-project", block="earth-engine-connection/mine", key=key)
    assert block.reference == ConnectionReference(project="my-project", block="earth-engine-connection/mine")
    with pytest.raises(ValueError, match="save it as a block"):
        _ = Connection(project="my-project", key=key).reference
    with pytest.raises(BadInputError, match="a saved block is read from a Prefect server"):
        PLAIN.connection(block.reference)


def test_a_process_without_prefect_runs_a_batch_and_a_second_time_asks_for_nothing(plan, sandbox, output):
    address = output("out")
    stored(plan, address)
    first = ended(start(batch_of(plan, address, sandbox)))
    assert {key: first[key] for key in ("stored", "empty", "failed", "fetched", "prefect")} == {
        "stored": len(plan),
        "empty": 0,
        "failed": 0,
        "fetched": len(plan),
        "prefect": False,
    }
    assert statistics(sandbox)["pixel_requests"] == len(plan)
    before = {found.key: found for found in open_store(address).list()}
    again = run_batch(batch_of(plan, address, sandbox, run_id="another"), SHARE)
    assert (again["receipt"], again["fetched"]) == (first["receipt"], 0)
    assert statistics(sandbox)["pixel_requests"] == len(plan)
    assert {found.key: found for found in open_store(address).list()} == before


def test_a_batch_that_is_killed_at_five_moments_ends_with_the_bytes_of_one_that_was_not(plan, sandbox, output):
    whole, address = output("whole"), output("killed")
    for each in (whole, address):
        stored(plan, each)
    run_batch(batch_of(plan, whole, sandbox), SHARE)
    asked, kills = statistics(sandbox)["pixel_requests"], 5
    assert asked == len(plan)
    for number in range(kills):
        process = start(batch_of(plan, address, sandbox))
        target = asked + number  # while it opens, at its first requests, in the midst of them
        while statistics(sandbox)["pixel_requests"] <= target and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        process.communicate()
        while statistics(sandbox)["in_flight"]:
            time.sleep(0.01)
        asked = statistics(sandbox)["pixel_requests"]
    last = ended(start(batch_of(plan, address, sandbox)))
    assert last["stored"] == len(plan)
    assert tiles_of(address) == tiles_of(whole)
    requests = statistics(sandbox)["pixel_requests"] - len(plan)
    assert requests <= len(plan) + kills * (IN_FLIGHT + STORING)
    assert len(list(open_store(address).list(f"{plan.folder}/receipts/"))) == 1  # those of killed ones are tidied
    assert run_batch(batch_of(plan, address, sandbox), SHARE)["fetched"] == 0


def test_two_processes_that_run_one_batch_at_once_do_each_other_no_harm(plan, sandbox, output):
    address, whole = output("out"), output("whole")
    for each in (whole, address):
        stored(plan, each)
    processes = [start(batch_of(plan, address, sandbox)) for _ in range(2)]
    for summary in map(ended, processes):
        assert summary["stored"] == len(plan)
    fetched = statistics(sandbox)["pixel_requests"]
    assert len(plan) <= fetched <= 2 * len(plan)
    run_batch(batch_of(plan, whole, sandbox), SHARE)
    assert tiles_of(address) == tiles_of(whole)
    checkpoint = read_checkpoint(plan, open_store(address))
    assert len(checkpoint.tiles) == len(plan)
    assert checkpoint.spans
    assert run_batch(batch_of(plan, address, sandbox, run_id="third"), SHARE)["fetched"] == 0


def test_batches_of_a_plan_are_those_of_the_whole(plan, sandbox, tmp_path):
    whole, parts = str(tmp_path / "whole"), str(tmp_path / "parts")
    for each in (whole, parts):
        stored(plan, each)
    run_batch(batch_of(plan, whole, sandbox), SHARE)
    for start_, stop in ((12, len(plan)), (0, 5), (5, 12)):
        run_batch(batch_of(plan, parts, sandbox, start=start_, stop=stop), SHARE)
    assert tiles_of(parts) == tiles_of(whole)
    assert [(span.start, span.stop) for span in read_checkpoint(plan, open_store(parts)).spans] == [
        (0, 5),
        (5, 12),
        (12, len(plan)),
    ]
    # Of tiles that several receipts speak of, a batch over them all writes one, and asks for nothing.
    merged = run_batch(batch_of(plan, parts, sandbox), SHARE)
    assert (merged["stored"], merged["fetched"]) == (len(plan), 0)
    assert len(read_checkpoint(plan, open_store(parts)).receipts) == 1


def test_a_batch_reads_what_is_stored_of_its_own_tiles_only(plan, sandbox, tmp_path, monkeypatch):
    address = str(tmp_path)
    stored(plan, address)
    run_batch(batch_of(plan, address, sandbox, stop=5), SHARE)
    seen = []
    read = batch_module.read_checkpoint

    def reading(*args, **more):
        seen.append(more)
        return read(*args, **more)

    monkeypatch.setattr(batch_module, "read_checkpoint", reading)
    run_batch(batch_of(plan, address, sandbox, start=5, stop=9), SHARE)
    assert seen == [{"start": 5, "stop": 9}]
    # A caller that has read it already passes it: nothing is read again.
    known = read_checkpoint(plan, open_store(address))
    assert run_batch(batch_of(plan, address, sandbox, stop=9), SHARE, checkpoint=known)["fetched"] == 0
    assert len(seen) == 1


def test_the_requests_of_the_next_batch_do_not_wait_for_its_task(plan, sandbox, tmp_path):
    """A session goes on with what was begun, and `run_batch` of it finds it done."""
    address = str(tmp_path)
    stored(plan, address)
    first, second = batch_of(plan, address, sandbox, stop=5), batch_of(plan, address, sandbox, start=5)
    with FetchSession("a-job", SHARE, Pace(in_flight=IN_FLIGHT)) as session:
        for each in (first, second):
            begin_batch(open_batch(each), session)
        assert run_batch(first, SHARE)["stored"] == 5
        end = time.monotonic() + 30
        while session.outstanding and time.monotonic() < end:
            time.sleep(0.01)
        assert statistics(sandbox)["pixel_requests"] == len(plan)  # before anybody ran the second
        assert run_batch(second, SHARE)["stored"] == len(plan) - 5
        assert FetchSession.of("a-job") is session
        assert not session.begun
    assert FetchSession.of("a-job") is None


def test_two_plans_in_one_session_are_not_mixed(plan, sandbox, tmp_path):
    """Their tiles have the same numbers."""
    other = replace(plan, tile_format=TileFormat(masks="unknown", codec="none"))
    for each in (plan, other):
        stored(each, str(tmp_path))
    with FetchSession("a-job", SHARE, Pace(in_flight=IN_FLIGHT)) as session:
        batches = [batch_of(each, str(tmp_path), sandbox, stop=4) for each in (plan, other)]
        for each in batches:
            begin_batch(open_batch(each), session)
        for each in reversed(batches):
            assert run_batch(each, SHARE)["stored"] == 4
    for each in (plan, other):
        assert set(read_checkpoint(each, open_store(str(tmp_path))).tiles) == set(range(4))


def test_what_stops_a_batch_is_raised_once_its_receipt_is_written(plan, sandbox, tmp_path, monkeypatch):
    address = str(tmp_path)
    stored(plan, address)
    batch = batch_of(plan, address, sandbox)
    fetch, calls = batch_module.fetch, []

    def refusing(connection, request, **more):
        calls.append(request)
        if len(calls) > 6:
            raise Denied("no permission", 403)
        return fetch(connection, request, **more)

    monkeypatch.setattr(batch_module, "fetch", refusing)
    with pytest.raises(Denied, match="no permission"):
        run_batch(batch, SHARE)
    known = read_checkpoint(plan, open_store(address))
    assert len(known.tiles) == 6
    assert len(known.receipts) == 1
    monkeypatch.setattr(batch_module, "fetch", fetch)
    assert run_batch(batch, SHARE)["fetched"] == len(plan) - 6


def test_a_tile_that_is_refused_is_counted_and_its_kind_is_stored(plan, sandbox, tmp_path, monkeypatch):
    address = str(tmp_path)
    stored(plan, address)
    fetch, refused = batch_module.fetch, plan.request(3).body

    def refusing(connection, request, **more):
        if request.body == refused:
            raise Rejected("no such band", 400)
        return fetch(connection, request, **more)

    monkeypatch.setattr(batch_module, "fetch", refusing)
    summary = run_batch(batch_of(plan, address, sandbox, stop=6), SHARE)
    assert (summary["stored"], summary["failed"]) == (5, 1)
    receipt = json.loads(open_store(address).get(summary["receipt"]))
    assert [tile["error_kind"] for tile in receipt["tiles"]] == [None, None, None, "Rejected", None, None]
    assert receipt["tiles"][3]["reason"] == "Rejected: no such band (HTTP 400)"


def test_a_plan_that_is_gone_or_another_is_said_before_the_first_request(plan, sandbox, tmp_path):
    address = str(tmp_path)
    store, key = open_store(address), f"{plan.folder}/plan.json"
    with pytest.raises(StorageError, match=r"it no longer exists\. Run the flow"):
        run_batch(batch_of(plan, address, sandbox), SHARE)
    other = replace(plan, tile_format=TileFormat(masks="unknown", codec="none"))
    store.put(key, json.dumps(other.json()).encode())
    with pytest.raises(StorageError, match="another run has replaced it"):
        run_batch(batch_of(plan, address, sandbox), SHARE)
    for data in (b'{"plan": ', b'{"plan": 1}'):
        store.put(key, data)
        with pytest.raises(StorageError, match="cannot be read"):
            run_batch(batch_of(plan, address, sandbox), SHARE)
    stored(plan, address)
    with pytest.raises(BadInputError, match=f"stop = {len(plan) + 1}: the plan has {len(plan)} tiles"):
        run_batch(batch_of(plan, address, sandbox, stop=len(plan) + 1), SHARE)
    assert statistics(sandbox)["pixel_requests"] == 0


def test_a_process_opens_a_plan_once(plan, tmp_path):
    store, key = open_store(str(tmp_path)), stored(plan, str(tmp_path))
    once = open_plan(store, key, plan.fingerprint)
    store.delete(key)
    assert open_plan(store, key, plan.fingerprint) is once
    assert remember_plan(store, "other", plan) is open_plan(store, "other", plan.fingerprint)


def test_there_is_no_quota_by_default():
    with pytest.raises(TypeError, match="quota"):
        run_batch(None)
    with pytest.raises(TypeError, match="quota"):
        FetchSession("a-job", pace=Pace())
    with pytest.raises(TypeError, match="of"):
        FixedShare(in_flight=4)


def test_many_small_batches_are_as_wide_as_a_large_one(plan, sandbox, tmp_path):
    address = str(tmp_path)
    stored(plan, address)
    with FetchSession("a-job", SHARE, Pace(in_flight=IN_FLIGHT)) as session:
        session.permits.prove()  # no probe
        batches = [batch_of(plan, address, sandbox, start=number, stop=number + 1) for number in range(12)]
        for batch in batches:
            begin_batch(open_batch(batch, checkpoint=Checkpoint()), session)
        for batch in batches:
            run_batch(batch, SHARE)
    assert statistics(sandbox)["peak_in_flight"] == IN_FLIGHT


@pytest.mark.parametrize("run_id", ["jobs/2024/region", "a/../b", "", "Ünïcode:\\ run"])
def test_a_run_may_have_any_id_and_its_receipts_are_found(plan, sandbox, tmp_path, run_id):
    address = str(tmp_path)
    stored(plan, address)
    if not run_id:
        with pytest.raises(ValidationError, match="run_id"):
            batch_of(plan, address, sandbox, run_id=run_id)
        return
    run_batch(batch_of(plan, address, sandbox, stop=3, run_id=run_id), SHARE)
    assert len(read_checkpoint(plan, open_store(address)).spans) == 1


def test_a_receipt_with_a_failed_tile_takes_no_other_from_its_place(plan, sandbox, tmp_path, monkeypatch):
    """Another process may have stored that tile meanwhile, and said so."""
    address = str(tmp_path)
    stored(plan, address)
    opened = open_batch(batch_of(plan, address, sandbox, stop=4))
    run_batch(batch_of(plan, address, sandbox, stop=4, run_id="other"), SHARE)
    late = replace(opened, checkpoint=replace(opened.checkpoint, receipts=read_checkpoint(plan, opened.store).receipts))
    fetch = batch_module.fetch

    def refusing(connection, request, **more):
        if request.body == plan.request(3).body:
            raise Rejected("no such band", 400)
        return fetch(connection, request, **more)

    monkeypatch.setattr(batch_module, "fetch", refusing)
    with FetchSession("a-job", SHARE, Pace(in_flight=IN_FLIGHT)) as session:
        begin_batch(late, session)
        assert run_batch(late.batch, SHARE)["failed"] == 1
    checkpoint = read_checkpoint(plan, opened.store)
    assert set(checkpoint.tiles) == {0, 1, 2, 3}
    assert not checkpoint.faults


def test_no_secret_gets_into_a_batch_nor_into_the_words_of_its_refusal(plan):
    key = json.dumps({"private_key": "-----BEGIN SECRET"})
    given = batch_of(plan, "out", "http://127.0.0.1:9").model_dump()
    for field, value in (("credentials_file", key), ("endpoint", "https://user:secret@example.org")):
        wrong = given | {"connection": given["connection"] | {field: value}}
        with pytest.raises(ValidationError) as refused:
            Batch.model_validate(wrong)
        assert field in str(refused.value)
        assert "secret" not in str(refused.value).lower()
    with pytest.raises(ValidationError) as refused:
        Batch.model_validate(given | {"connection": {"private_key": "SECRET"}})
    assert "SECRET" not in str(refused.value)


def test_a_process_without_prefect_refuses_a_saved_block(plan, sandbox):
    with pytest.raises(BadInputError, match=r"output = 'gcs-bucket/pixels': a saved block"):
        run_batch(batch_of(plan, "gcs-bucket/pixels", sandbox), SHARE)
