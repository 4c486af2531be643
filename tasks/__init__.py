"""Thin Prefect tasks over a core that knows no Prefect."""
