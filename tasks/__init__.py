"""The Prefect tasks, one thin module each, and the core that they call. The core does not import Prefect."""
