"""Products: files made from stored tiles. These functions read and write a store, and do not use Prefect."""
