"""
PostgreSQL 15 and newer: one login role per grant, named after it, removed when the grant ends.

What each file holds: `settings` what an operator writes, `links` connections and their failures,
`statements` the SQL, `connector` the port, `removal` the end of a grant, `logins` those who are on
their way in meanwhile, `sight` the probe and the inventory, `passwords` the credential, `log` the
reader of the target's log, `rights` what the connector's own account needs, `foreign` how an
administrator removes what we did not make.

Limits, said here because evidence rests on them:

- Endpoints are addressed one by one and never through a pooler or a name for several servers: what
  a connector cannot address it cannot see.
- The target's identity is its system identifier and timeline. That tells another cluster, a
  promoted replica and a recovered backup; a copy of the disk that was merely started cannot be told
  apart by anything that an ordinary role may read.
- Objects that a holder makes inside his rights stay, and belong to the granted role.
- On 15 a holder may grant his own role to another account (16 stopped that); the other account's
  sessions are not ours to end.
"""

from muniment.connectors.postgresql.connector import PostgreSQL
from muniment.connectors.postgresql.passwords import scram_verifier
from muniment.connectors.postgresql.rights import setup_sql

__all__ = ["PostgreSQL", "scram_verifier", "setup_sql"]
