"""How are the results shown? No torch."""
