"""Laws of receipts: what is packed or written is read back."""

import json

from hypothesis import given
from hypothesis import strategies as st

from tasks.storage.receipt import Bands, BandSummary, Receipt, TileReceipt

numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
summaries = st.builds(
    BandSummary,
    valid=st.none() | st.integers(0, 2**53),
    counted=st.integers(0, 2**53),
    mean=numbers,
    min=numbers,
    max=numbers,
)


@given(st.lists(summaries, max_size=5))
def test_packed_summaries_are_the_summaries(given):
    bands = Bands(given)
    assert list(bands) == given
    assert bands[-3:] == given[-3:]
    assert bands == Bands(given)
    assert hash(bands) == hash(Bands(given))
    assert bands != Bands([*given, BandSummary(valid=None, counted=0, mean=None, min=None, max=None)])


@given(st.lists(summaries, max_size=5))
def test_a_receipt_that_was_written_is_read_back(given):
    tile = TileReceipt(index=3, fingerprint="f", status="stored", key="k", size=1, pixels=2, bands=Bands(given))
    receipt = Receipt(plan="p", start=3, stop=4, tiles=(tile, TileReceipt(index=4, fingerprint="g", status="failed")))
    assert Receipt.from_json(json.loads(receipt.encode())) == receipt
    assert receipt.json()["tiles"][0]["bands"] == [
        {"valid": b.valid, "counted": b.counted, "mean": b.mean, "min": b.min, "max": b.max} for b in given
    ]
