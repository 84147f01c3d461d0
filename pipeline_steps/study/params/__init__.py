"""The typed config sections, one module per stage, so that a stage hangs on its own only."""
