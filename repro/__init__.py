"""Pea-KD reproduced: shuffled parameter sharing, and pretraining with teacher predictions."""

__version__ = "0.1.0"
