"""What the Prefect servers of tests begin with: Python runs a module of this name, found on PYTHONPATH, at its start.

They collect no garbage. A collection in the thread of the server's event loop that finds a cursor of SQLite waits for
its connection. If that waits for its turn to write, the server answers nobody for a minute: who writes can't go on.
"""

import gc

gc.disable()
