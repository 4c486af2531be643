"""Laws of what is run again: which failures pass by themselves, and what other plans have stored for this one."""

import inspect
import pickle
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.earthengine import errors
from tasks.errors import may_pass
from tasks.errors.input import BadInputError
from tasks.errors.run import AuditError, ExtractionFailedError, RunCancelled
from tasks.extraction.checkpoint import read_checkpoint
from tasks.extraction.completeness import check_complete
from tasks.plan.plan import Band, TileFormat
from tasks.prefect_io import run_retries as module
from tasks.prefect_io.run_retries import LONGEST_S, delay_before
from tasks.storage import store
from tasks.storage.receipt import TileReceipt
from tests.tasks.extraction.test_checkpoint import EMPTY, Earth, extract, folder, kinds, series, tiles_of

PASSING = {"Transient", "Throttled", "OutOfReach", "OutputBusy", "OutputDamaged", "TileLost"}
LASTING = {
    *("EarthEngineError", "TooHeavy", "Rejected", "Denied", "BudgetExhausted", "Stopped", "GivenUp"),
    *("StorageError", "OutputFull", "OutputDenied", "OutputMissing", "SignInExpired", "OutputConflict"),
}
KINDS = {
    kind.__name__: kind
    for part in (errors, store)
    for _, kind in inspect.getmembers(part, inspect.isclass)
    if issubclass(kind, errors.EarthEngineError | store.StorageError)
}


def test_every_error_is_said_to_pass_or_to_last():
    assert set(KINDS) == PASSING | LASTING


@pytest.mark.parametrize("name", sorted(KINDS.keys() - {"EarthEngineError"}))
def test_a_run_is_started_again_for_what_passes_alone(name):
    assert may_pass(KINDS[name]("message")) is (name in PASSING)
    assert may_pass(pickle.loads(pickle.dumps(KINDS[name]("message")))) is (name in PASSING)


@pytest.mark.parametrize(
    "error",
    [
        BadInputError("scale", 0, "not above 0", "Give more"),
        RunCancelled("Cancelled."),
        AuditError("The output is not whole"),
        *(kind("message") for kind in (ValueError, OSError, ConnectionError, TimeoutError, KeyError)),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_nothing_else_passes(error):
    assert not may_pass(error)


@pytest.mark.parametrize(
    ("kinds", "passing"),
    [
        (["Transient"], True),
        (["Transient", "Throttled"], True),
        (["Transient", "Rejected"], False),
        (["TransientNot", "Transient"], False),
        (["TooHeavy"], False),
        (["ValueError"], False),
        ([None], False),
        ([], False),
    ],
)
def test_failed_tiles_pass_if_the_errors_of_all_of_them_do(kinds, passing):
    """The kind of the error decides, and no word of its reason."""
    tiles = [TileReceipt(index=0, fingerprint="f", status="stored")]
    tiles += [
        TileReceipt(index=i, fingerprint="f", status="failed", error_kind=kind, reason="Transient: so it says")
        for i, kind in enumerate(kinds, start=1)
    ]
    expected = len(tiles) + (not kinds)  # else one is missing: why, nobody knows
    with pytest.raises(ExtractionFailedError) as failed:
        check_complete(tiles, expected=expected, output="out", allow_failures=False)
    assert may_pass(failed.value) is passing
    retry_run = pickle.loads(pickle.dumps(failed.value))
    assert (type(retry_run), str(retry_run), retry_run.passing) == (ExtractionFailedError, str(failed.value), passing)


@given(retry=st.integers(1, 1000), delay=st.just(0.0) | st.floats(1, 3600))
def test_a_retry_is_between_half_and_all_of_a_delay_that_doubles_and_has_an_end(retry, delay):
    whole = min(delay * 2.0 ** min(retry - 1, 60), LONGEST_S)
    assert whole / 2 <= delay_before(retry, delay) <= whole <= LONGEST_S


def test_runs_that_failed_together_do_not_come_back_together(monkeypatch):
    delays = [delay_before(2, 60) for _ in range(200)]
    assert len(set(delays)) > 190
    assert 80 < statistics.mean(delays) < 100
    for share in (0.5, 0.7, 1.0):
        monkeypatch.setattr(module.random, "uniform", lambda *_, share=share: share)
        assert [delay_before(retry, 60) for retry in (1, 2, 3)] == [share * 60, share * 120, share * 240]


THREE = series(1, 2, 3)


@pytest.mark.parametrize(
    ("plan", "shared"),
    [
        (series(2), range(6)),
        (series(3, 1), range(12)),
        (series(2, 3, 4), range(12)),
        (series(4, 3), range(6, 12)),
        (series(2, 4, name="region"), range(6)),
        (series(1, 4, kept=(1, 3, 5)), range(3)),
        (series(1, 2, 3, name="other"), range(18)),
        (series(4), ()),
    ],
    ids=lambda value: f"{value.name} {[s.label for s in value.sources]}" if hasattr(value, "sources") else "",
)
@pytest.mark.parametrize("verify", ["quick", "full"])
def test_what_another_plan_has_stored_counts_with_the_number_that_it_has_here(tmp_path, plan, shared, verify):
    output = folder(tmp_path)
    extract(THREE, output, (0, 10), (10, 18))
    before = tiles_of(output)
    stored = [i for i in shared if i % len(plan.tiles) != EMPTY or plan.tiles.kept]
    checkpoint = read_checkpoint(plan, output, verify=verify)
    assert set(stored) <= checkpoint.tiles.keys() <= set(shared)  # an empty tile has no file by which it could be told
    for index, tile in checkpoint.tiles.items():
        assert (tile.index, tile.fingerprint) == (index, plan.tile_fingerprint(index))
        assert tile.key in {plan.key(index), None}
    assert (checkpoint.unverified, checkpoint.faults, checkpoint.spans) == ({}, {}, ())
    assert extract(plan, output, checkpoint=checkpoint)[1] == list(checkpoint.missing(0, len(plan)))
    assert {key: data for key, data in tiles_of(output).items() if key in before} == before
    assert sorted(read_checkpoint(plan, output).tiles) == list(range(len(plan)))


def test_what_is_damaged_since_another_plan_stored_it_does_not_count(tmp_path):
    plan, output = series(2, 4), folder(tmp_path)
    extract(THREE, output)
    before = tiles_of(output)
    output.put(plan.key(0), before[plan.key(0)][:-1] + b"?")
    output.put(plan.key(1), before[plan.key(1)][:-1])
    output.delete(plan.key(3))
    checkpoint = read_checkpoint(plan, output)
    told = {0: "damaged", 1: "damaged", 3: "missing"}
    assert (sorted(checkpoint.tiles), kinds(checkpoint)) == ([EMPTY, 4, 5], told)
    assert extract(plan, output, checkpoint=checkpoint)[1] == [0, 1, 3, *range(6, 12)]
    assert {key: data for key, data in tiles_of(output).items() if key in before} == before


def test_what_a_receipt_says_of_another_tile_at_the_same_place_does_not_count(tmp_path):
    """A place has but the beginning of a fingerprint in its name."""
    plan, output = series(2), folder(tmp_path)
    extract(THREE, output)
    (receipt,) = output.list(f"{THREE.folder}/receipts/")
    whole = plan.tile_fingerprint(1)
    output.put(receipt.key, output.get(receipt.key).replace(whole.encode(), f"{whole[:-1]}?".encode()))
    checkpoint = read_checkpoint(plan, output)
    assert (sorted(checkpoint.tiles), sorted(checkpoint.unverified)) == ([0, EMPTY, 3, 4, 5], [1])


def test_a_tile_that_failed_here_counts_once_another_plan_has_stored_it(tmp_path):
    plan, output = series(2), folder(tmp_path)
    extract(plan, output, fetch=Earth(refused={plan.request(1).body}))
    extract(THREE, output, checkpoint=read_checkpoint(THREE, output))
    checkpoint = read_checkpoint(plan, output)
    assert (sorted(checkpoint.tiles), checkpoint.faults, checkpoint.unverified) == (list(range(6)), {}, {})


@pytest.mark.parametrize(
    "other",
    [
        series(1, 2, bands="ba"),
        series(1, 2, bands="a"),
        series(1, 2, dtype="int16"),
        series(1, 2, scale=20.0),
        series(1, 2, version="v2"),
        *(series(1, 2, output=TileFormat(codec=codec)) for codec in ("deflate", "none")),
        series(1, 2, output=TileFormat(masks="unknown")),
        series(1, 2, output=TileFormat(clip="POLYGON ((500 900, 850 900, 500 700, 500 900))")),
        series(1, 2, output=TileFormat(file_format="NPY")),
    ],
    ids=lambda plan: plan.folder,
)
def test_another_request_finds_nothing_of_the_old_output_and_leaves_it(tmp_path, other):
    plan, output = series(1, 2), folder(tmp_path)
    extract(plan, output)
    before = tiles_of(output)
    assert not {plan.key(i) for i in range(12)} & {other.key(i) for i in range(len(other))}
    checkpoint = read_checkpoint(other, output)
    assert (checkpoint.tiles, checkpoint.unverified, checkpoint.faults, checkpoint.spans) == ({}, {}, {}, ())
    extract(other, output, checkpoint=checkpoint)
    assert {key: data for key, data in tiles_of(output).items() if key in before} == before
    assert len(read_checkpoint(plan, output, verify="full").tiles) == 12


def test_one_image_that_was_updated_leaves_the_others_as_they_are(tmp_path):
    plan, output = series(1, 2), folder(tmp_path)
    extract(plan, output)
    other = replace(plan, sources=(plan.sources[0], replace(plan.sources[1], version="v2")))
    checkpoint = read_checkpoint(other, output)
    assert (sorted(checkpoint.tiles), checkpoint.unverified) == ([0, 1, EMPTY, 3, 4, 5], {})


def test_names_are_no_part_of_what_a_tile_is(tmp_path):
    plan, output = series(1, 2), folder(tmp_path)
    extract(plan, output)
    sources = tuple(replace(source, origin="another", time=None) for source in plan.sources)
    for other in (replace(plan, name="region"), replace(plan, sources=sources)):
        assert [other.key(i) for i in range(12)] == [plan.key(i) for i in range(12)]
        stored = read_checkpoint(other, output).tiles
        assert sorted(stored) == list(range(12))
    band = Band(id="c", dtype="uint16")
    assert not set(read_checkpoint(replace(plan, bands=(*plan.bands, band)), output).tiles)
