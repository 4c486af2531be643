"""Products: files that are made from stored tiles. Pure functions over a store. No Prefect."""
