"""What do the numbers say? No torch."""
