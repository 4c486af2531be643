"""All code that uses Prefect and its server: leases, limits, heartbeats, retries, artifacts, blocks."""
