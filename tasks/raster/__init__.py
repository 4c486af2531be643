"""Grids, regions, points, decoding, masks, encoding, mosaics and pictures, with NumPy, rasterio and odc-geo."""
