"""All that talks to the Prefect server: leases, limits, heartbeats, retries of runs, artifacts, blocks."""
