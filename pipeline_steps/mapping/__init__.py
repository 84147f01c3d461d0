"""From an image to its maps: what `tile`, `predict` and `map` share."""
