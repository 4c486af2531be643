"""Access to Earth Engine: connection, metadata, recipes, requests, transport, errors."""
