"""Where bytes go: the store protocol, the local folder, receipts."""
