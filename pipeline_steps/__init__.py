"""DepthSeg's stages, one module per Snakemake rule, and the packages they stand on."""
