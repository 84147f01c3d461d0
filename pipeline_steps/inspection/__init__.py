"""What the files of a study are, and how they fit together."""
