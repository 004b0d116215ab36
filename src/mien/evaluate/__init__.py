"""Predictions, metrics, calibration."""
