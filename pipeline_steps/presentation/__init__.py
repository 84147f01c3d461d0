"""How findings are shown: as tables to read and as figures to look at. No torch."""
