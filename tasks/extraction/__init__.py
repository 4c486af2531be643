"""Fetch the tiles of a plan in any process, without Prefect: batches, the quota that limits them, and receipts."""
