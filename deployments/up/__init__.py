"""A Prefect server, the sandbox and a worker on loopback, started by one command and stopped by another."""
