"""What is asked: configuration, scene table, fingerprints, command line.

Light on purpose: the Snakefile imports it in every job, so neither torch nor
rasterio may be reached from here.
"""
