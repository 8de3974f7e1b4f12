"""Evaluation: calibration, uncertainty, conformal prediction, bootstrap intervals."""
