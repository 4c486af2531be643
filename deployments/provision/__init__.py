"""Sets up a Prefect server for the project: blocks, quota, work pool, deployments, schedules and automations."""
