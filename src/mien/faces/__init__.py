"""Detector, landmarks, alignment, crop."""
