"""Evaluation: calibration, uncertainty, bootstrap intervals, reports."""
