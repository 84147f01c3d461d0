"""Networks, and nothing of how they are trained or asked for."""
