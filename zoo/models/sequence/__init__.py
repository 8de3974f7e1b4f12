"""Networks on time series."""
