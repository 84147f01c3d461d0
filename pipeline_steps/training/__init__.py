"""Crops, losses and the loop."""
