"""What should be run, and what did the paper print? No torch."""
