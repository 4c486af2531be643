"""A recipe as a user has it."""

import ee


def half() -> ee.Image:
    """Half of the elevation, in metres; int16."""
    return ee.Image("USGS/SRTMGL1_003").divide(2).toInt16()
