"""How long Prefect's client waits: for less than a minute in a flow's own code, and for seconds after a signal."""

import contextlib

import pytest
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from tasks.prefect_io.impatience import RETRIES, impatient


@pytest.mark.parametrize(("end", "retries"), [(None, 5), (ValueError, 5), (KeyboardInterrupt, 0)])
def test_patience_ends_for_the_block_and_for_good_after_a_signal(end, retries):
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 5}):
        with contextlib.suppress(ValueError, KeyboardInterrupt), impatient():
            attempts = 1 + PREFECT_CLIENT_MAX_RETRIES.value()
            pauses = sum(2**attempt for attempt in range(1, attempts))
            assert attempts == 1 + RETRIES
            assert attempts * PREFECT_API_REQUEST_TIMEOUT.value() + pauses < 60
            if end:
                raise end
        assert PREFECT_CLIENT_MAX_RETRIES.value() == retries
    assert PREFECT_CLIENT_MAX_RETRIES.value() == 5  # the default
