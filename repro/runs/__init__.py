"""What is computed, where, and what is kept?"""
