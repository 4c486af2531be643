"""Stores of bytes: the store protocol, folders, buckets of Cloud Storage, and receipts."""
