"""The header of a picture: what it declares is checked before anything is decompressed."""

from __future__ import annotations

import io

from PIL import Image

from tasks.errors.input import brief


def picture_shape(data: bytes, file_format: str) -> tuple[int, int]:
    """Return the height and width of a picture from its header, pixels.

    Args:
        data: The whole file.
        file_format: ``PNG`` or ``JPEG``. No other format is tried.

    Raises:
        ValueError: It is no such picture, or has so many pixels that Pillow takes it for a decompression bomb.
    """
    try:
        with Image.open(io.BytesIO(data), formats=(file_format,)) as picture:
            return picture.height, picture.width
    except Exception as error:  # Pillow raises a dozen types for a damaged header
        raise ValueError(brief(error)) from error
