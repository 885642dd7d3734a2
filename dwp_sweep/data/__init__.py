"""From NIfTI files to batches: layouts, checks, preprocessing, cache, splits, and the generated phantom."""
