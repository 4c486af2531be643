"""One module a flow: parameters, order of steps, nothing else."""

import os

# Without a server configured, Prefect starts one for the run. The first start of a new home migrates its database,
# which takes about 50 s on two cores; Prefect's own patience is 20 s.
START_S = 120
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")  # of that server
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", str(START_S))
# The server takes a run for dead after three heartbeats that it missed; by default they come every three minutes.
HEARTBEAT_S = 30
os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", str(HEARTBEAT_S))  # for processes that are started later

from prefect.settings import get_current_settings  # noqa: E402 - after what it reads as it is imported

_settings = get_current_settings().flows  # whoever imported Prefect before has read the default
if "heartbeat_frequency" not in _settings.model_fields_set:
    _settings.heartbeat_frequency = HEARTBEAT_S
_ephemeral = get_current_settings().server.ephemeral
if "startup_timeout_seconds" not in _ephemeral.model_fields_set:
    _ephemeral.startup_timeout_seconds = START_S
