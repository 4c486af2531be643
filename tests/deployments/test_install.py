"""The progress of the first install."""

import pytest

from deployments.install import packages, status

LOCK = """affine==2.4.0 \\
    --hash=sha256:8a24
aiosqlite==0.22.1 ; python_version >= "3.11" and sys_platform == "linux" \\
    --hash=sha256:21c0
# a==comment
"""


def test_each_package_of_the_lock_is_counted_once():
    assert packages(LOCK) == 2


@pytest.mark.parametrize(
    ("fetched", "installed", "text"),
    [
        (0, 0, "0 of 2 packages are downloaded"),
        (1, 0, "1 of 2 packages are downloaded"),
        (2, 0, "all packages are downloaded, 0 of 2 are installed"),
        (9, 9, "all packages are downloaded, 2 of 2 are installed"),
    ],
)
def test_a_line_says_how_far_it_is(fetched, installed, text):
    assert status(fetched, installed, 2) == text
