"""Every connector keeps the contract: the fake, and PostgreSQL on every version to be had here."""

from muniment.testing.connector_contract import ConnectorContract


class TestConnectors(ConnectorContract):
    """`under_test` comes from conftest."""
