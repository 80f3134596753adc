"""Pea-KD, reproduced: shuffled parameter sharing and pretraining with the teacher's predictions (Cho & Kang)."""

__version__ = "0.1.0"
