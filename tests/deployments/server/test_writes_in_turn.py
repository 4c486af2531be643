"""Transactions of Prefect's own SQLite configuration, which read before they write: with the plugin none is refused."""

import asyncio
import contextlib

import pytest
import sqlalchemy as sa
from prefect.server.database.configurations import AioSqliteConfiguration

from deployments.server.writes_in_turn import connection_url
from deployments.up.service import Place

READ, WRITE = sa.text("SELECT n FROM counter"), sa.text("UPDATE counter SET n = n + 1")
DEFAULT_CONNECTIONS = 15  # of SQLAlchemy: 5 and 10 more


class Counter:
    """A table with one number."""

    def __init__(self, configuration, engine):
        self.configuration, self.engine = configuration, engine
        self.has_read, self.go_on = asyncio.Event(), asyncio.Event()

    @classmethod
    @contextlib.asynccontextmanager
    async def on(cls, url):
        configuration = AioSqliteConfiguration(url)
        engine = await configuration.engine()
        try:
            async with engine.connect() as connection:  # outside transactions, Prefect's engine commits by itself
                await connection.execute(sa.text("CREATE TABLE counter (n INTEGER)"))
                await connection.execute(sa.text("INSERT INTO counter VALUES (0)"))
            yield cls(configuration, engine)
        finally:
            await engine.dispose()

    async def read(self):
        async with self.engine.connect() as connection:
            return await connection.scalar(READ)

    async def add(self):
        """Read, then write, in one transaction of a server."""
        session = await self.configuration.session(self.engine)
        async with session, self.configuration.begin_transaction(session):
            await session.execute(READ)
            await session.execute(WRITE)

    async def begin_to_add(self):
        """Return the task of a transaction that has read and waits for `go_on` before it writes."""

        async def add():
            session = await self.configuration.session(self.engine)
            async with session, self.configuration.begin_transaction(session):
                await session.execute(READ)
                self.has_read.set()
                await self.go_on.wait()
                await session.execute(WRITE)

        task = asyncio.create_task(add())
        await self.has_read.wait()
        return task


def test_a_transaction_that_reads_before_it_writes_waits_for_its_turn(tmp_path):
    async def both():
        async with Counter.on(connection_url(tmp_path / "prefect.db")) as counter:
            first, second = await counter.begin_to_add(), asyncio.create_task(counter.add())
            counter.go_on.set()
            await asyncio.gather(first, second)
            return await counter.read()

    assert asyncio.run(both()) == 2


def test_without_the_plugin_it_is_refused(tmp_path):
    """If this fails, Prefect has changed, and the plugin may be superfluous."""

    async def both():
        async with Counter.on(f"sqlite+aiosqlite:///{tmp_path}/prefect.db") as counter:
            first = await counter.begin_to_add()
            await counter.add()
            counter.go_on.set()
            with pytest.raises(sa.exc.OperationalError, match="database is locked"):
                await first

    asyncio.run(both())


def test_transactions_that_wait_leave_connections_for_others(tmp_path):
    count = 2 * DEFAULT_CONNECTIONS

    async def crowd():
        async with Counter.on(connection_url(tmp_path / "a b.db")) as counter:
            first = await counter.begin_to_add()
            waiting = [asyncio.create_task(counter.add()) for _ in range(count)]
            while counter.engine.pool.checkedout() <= count:  # noqa: ASYNC110 - the pool has no event
                await asyncio.sleep(0)
            assert await counter.read() == 0
            counter.go_on.set()
            await asyncio.gather(first, *waiting)
            return await counter.read()

    assert asyncio.run(crowd()) == count + 1


def test_a_database_in_memory_keeps_its_one_connection():
    async def size():
        engine = await AioSqliteConfiguration("sqlite+aiosqlite:///:memory:?plugin=writes_in_turn").engine()
        try:
            return engine.pool.size()
        finally:
            await engine.dispose()

    assert asyncio.run(size()) == 1


def test_make_up_uses_it(tmp_path):
    server = Place(tmp_path, 1, 2).services()[0]
    url = sa.make_url(server.environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"])
    assert (url.database, url.query) == (str(tmp_path / "prefect" / "prefect.db"), {"plugin": "writes_in_turn"})
