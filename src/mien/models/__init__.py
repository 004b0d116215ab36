"""Swin, squeeze-and-excitation, and what they are compared with."""
