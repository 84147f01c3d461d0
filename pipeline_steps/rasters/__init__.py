"""Numpy, rasterio and zarr: windows, blending, alignment, reading, stores. No torch."""
