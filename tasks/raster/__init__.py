"""Grids, regions, decoding, masks, encoding, mosaics: NumPy, rasterio, odc-geo."""
