"""Settings of a Prefect server for many runs at once."""
