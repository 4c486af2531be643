"""Talking to Earth Engine: connection, sources, requests, transport, errors, recipes."""
