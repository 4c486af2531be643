"""What the tests of flows share."""

import pytest


@pytest.fixture
def place(sandbox_url, tmp_path):
    """The parameters that all jobs of a test share: where from, where to."""
    return {"project": "my-project", "endpoint": sandbox_url, "output": str(tmp_path / "out"), "run_retries": 0}
