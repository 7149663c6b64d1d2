"""The log, its lists and its shared head store in PostgreSQL, for several nodes."""

from muniment.stores.postgresql.heads import SharedHalt, SharedHeads, SharedLedger
from muniment.stores.postgresql.setup import setup_sql
from muniment.stores.postgresql.store import PostgreSQLStore

__all__ = ["PostgreSQLStore", "SharedHalt", "SharedHeads", "SharedLedger", "setup_sql"]
