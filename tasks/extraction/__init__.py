"""Fetch what a plan holds, in any process: batches, the quota that they keep to, and their receipts. No Prefect."""
