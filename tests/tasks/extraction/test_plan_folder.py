"""Names of folders: words that say what a plan holds, and an end by which it is found again."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.extraction.plan_folder import LONGEST, place_plan
from tasks.extraction.stored_plan import PLAN, read_plan, store_plan
from tasks.plan.plan import Plan
from tasks.storage.local import LocalStore
from tasks.storage.store import is_key
from tests.tasks.extraction.test_checkpoint import series

WORDS = ("Lago de Itaipú", "sentinel2_median", "20m")


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path)


def test_a_new_folder_says_what_it_holds(store):
    plan = series(2)
    placed = place_plan(plan, store, WORDS)
    assert placed.folder == f"series-Lago_de_Itaipu-sentinel2_median-20m-{plan.fingerprint[:12]}"
    assert placed == plan
    store_plan(store, placed)
    assert read_plan(store, f"{placed.folder}/{PLAN}").folder == placed.folder


@pytest.mark.parametrize("home", [None, "series-0123456789ab"])
@pytest.mark.parametrize("before", [(), WORDS, ("another", "label")], ids=["before labels", "same", "another label"])
def test_a_run_with_another_label_finds_the_folder_of_the_plan(store, home, before):
    plan = replace(series(2), home=home)
    first = place_plan(plan, store, before) if before else plan
    store_plan(store, first)
    assert place_plan(plan, store, WORDS).folder == first.folder
    assert place_plan(plan, store, ()).folder == first.folder


def test_a_folder_of_another_plan_or_without_a_plan_is_not_taken(store):
    plan = series(2)
    store_plan(store, place_plan(series(3), store, WORDS))
    store.put(f"series-killed-{plan.fingerprint[:12]}/receipts/x.json", b"{}")
    assert "killed" not in place_plan(plan, store, WORDS).folder


def test_a_folder_whose_name_is_no_text_is_passed_over(store):
    plan = series(2)
    folder = store.root / f"series-\udcff-{plan.fingerprint[:12]}"
    folder.mkdir()
    (folder / PLAN).write_text("{}")
    assert is_key(place_plan(plan, store, WORDS).folder)


@settings(deadline=None, max_examples=50)
@given(words=st.lists(st.text(max_size=300), max_size=3))
def test_any_words_give_a_folder_that_every_store_takes(tmp_path_factory, words):
    plan = place_plan(series(2), LocalStore(tmp_path_factory.mktemp("store")), words)
    assert is_key(plan.folder)
    assert "/" not in plan.folder
    assert len(plan.folder) <= LONGEST
    assert Plan.from_json(plan.json()).folder == plan.folder


@pytest.mark.parametrize("named", ["series-x-0123456789ab", "region-x-{}", "../{}", "tiles"])
def test_a_folder_that_is_not_the_plan_s_is_refused(named):
    plan = series(2)
    with pytest.raises(ValueError, match=r"named|another plan"):
        Plan.from_json(plan.json() | {"named": named.format(plan.fingerprint[:12])})
