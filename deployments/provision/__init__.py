"""Puts the project to work on a Prefect server: blocks, quota, work pool, deployments, schedules and automations."""
