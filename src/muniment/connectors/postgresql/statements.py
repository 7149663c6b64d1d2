"""
The SQL that is sent to a target, each statement with its sentence.

What is to be done reaches the two orders (`ISSUE`, `EXTEND`) as a setting of the session, so that
their text is constant: no name is pasted into SQL on our side, and the account's verifier stands
neither in `pg_stat_activity` nor in `pg_stat_statements` nor in the log of a failed statement.
"""

# ruff: noqa: S608 - every piece is a constant of this file

from typing import Final, LiteralString

#: System identifier and timeline: together they tell other clusters, promotions and recoveries.
IDENTITY: LiteralString = """
    (SELECT system_identifier FROM pg_control_system()) || ':' ||
    CASE WHEN pg_is_in_recovery() THEN
      coalesce((SELECT received_tli FROM pg_stat_wal_receiver),
               (SELECT nullif(min_recovery_end_timeline, 0) FROM pg_control_recovery()),
               (SELECT timeline_id FROM pg_control_checkpoint()))
    ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END
"""

#: How far this server's history goes.
POSITION: LiteralString = """
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END
"""

#: The target's clock.
NOW: LiteralString = "SELECT clock_timestamp()"

#: Puts an order into the session and names the session after its grant; answers who the target is.
TAKE_ORDER: LiteralString = f"""
    SELECT {IDENTITY}, set_config('application_name', %s, false),
           set_config('muniment.order', %s, false)
"""

#: Forgets the order, so that the session can serve another.
FORGET_ORDER: LiteralString = """
    SELECT set_config('application_name', 'muniment', false),
           set_config('muniment.order', '', false)
"""

#: The error code by which a target says that an order came after its deadline.
LATE: Final[LiteralString] = "MU002"

#: What both orders begin with: the deadline, and the bound without which it would mean nothing.
_IN_TIME: LiteralString = f"""
  IF clock_timestamp() > (wanted->>'deadline')::timestamptz THEN
    RAISE EXCEPTION 'the order came after its deadline' USING ERRCODE = '{LATE}';
  END IF;
  IF 1000 * extract(epoch FROM current_setting('statement_timeout')::interval)
       NOT BETWEEN 1 AND (wanted->>'timeout')::int THEN
    RAISE EXCEPTION 'the session has lost its statement_timeout: connect without a pooler'
      USING ERRCODE = 'MU001';
  END IF;
"""

#: Creates the account or gives it a new secret and window, all of it or nothing, and in time.
ISSUE: LiteralString = f"""
DO $order$
DECLARE
  wanted CONSTANT jsonb := current_setting('muniment.order');
  account CONSTANT text := wanted->>'account';
  options CONSTANT text := CASE WHEN current_setting('server_version_num')::int >= 160000
                                THEN ' WITH INHERIT TRUE, SET TRUE' ELSE '' END;
  granted text;
BEGIN
  {_IN_TIME}
  EXECUTE format('%s ROLE %I LOGIN INHERIT CONNECTION LIMIT %s PASSWORD %L VALID UNTIL %L',
                 CASE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = account)
                      THEN 'ALTER' ELSE 'CREATE' END,
                 account, wanted->>'sessions', wanted->>'verifier', wanted->>'until');
  FOR granted IN SELECT jsonb_array_elements_text(wanted->'grants') LOOP
    EXECUTE format('GRANT %I TO %I', granted, account) || options;
  END LOOP;
  SELECT g.rolname INTO granted
    FROM pg_auth_members m
    JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles a ON a.oid = m.member
   WHERE a.rolname = account AND NOT wanted->'grants' ? g.rolname LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'the account is a member of %, which was not ordered', granted
      USING ERRCODE = 'MU001';
  END IF;
  EXECUTE format('ALTER ROLE %I SET role = %L', account, wanted->'grants'->>0);
  IF (wanted->'log_statements')::bool THEN
    EXECUTE format('ALTER ROLE %I SET log_statement = %L', account, 'all');
  END IF;
  EXECUTE format('COMMENT ON ROLE %I IS %L', account, wanted->>'comment');
EXCEPTION WHEN query_canceled OR OTHERS THEN
  -- said again because PostgreSQL would add the failed statement, and with it the verifier
  RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM;
END $order$
"""

#: Moves the expiry of an account that may still log in, in time; brings none back.
EXTEND: LiteralString = f"""
DO $order$
DECLARE
  wanted CONSTANT jsonb := current_setting('muniment.order');
  account CONSTANT text := wanted->>'account';
BEGIN
  {_IN_TIME}
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = account AND rolcanlogin) THEN
    RAISE EXCEPTION 'the grant has no live account' USING ERRCODE = 'MU001';
  END IF;
  EXECUTE format('ALTER ROLE %I VALID UNTIL %L', account, wanted->>'until');
END $order$
"""

# In what follows `{name}` stands for the account's name as a string, and `{account}` for the same
# as an identifier: these are sent as text, several to a message.

#: Ends our own sessions that hold an order for this grant, so that none takes effect afterwards.
END_ORDERS: LiteralString = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
     WHERE usename = current_user AND application_name = {name} AND pid <> pg_backend_pid()
"""

#: Whether the account is there.
EXISTS: LiteralString = "SELECT count(*) FROM pg_roles WHERE rolname = {name}"

#: No new logins from the moment this is committed.
BLOCK: LiteralString = "ALTER ROLE {account} NOLOGIN PASSWORD NULL VALID UNTIL '-infinity'"

#: Whether this endpoint would still let the account in; a replica learns late.
ADMITS: LiteralString = "SELECT count(*) FROM pg_roles WHERE rolname = {name} AND rolcanlogin"

#: Logins under way, which do not show yet whose they are, and whether each is past its check. A
#: backend logs in within one transaction, and shows its user before that ends; after the check
#: whether its role may log in it locks its database. Locks are read first: each row asks who it is.
STARTING: LiteralString = """
    SELECT l.pid, l.checked
      FROM (SELECT pid,
                   bool_or(locktype = 'object' AND classid = 'pg_database'::regclass) AS checked
              FROM pg_locks WHERE pid <> pg_backend_pid()
             GROUP BY pid HAVING bool_or(locktype = 'virtualxid')) l
      LEFT JOIN LATERAL pg_stat_get_activity(l.pid) a ON true
     WHERE a.usesysid IS NULL AND coalesce(a.backend_type, 'client backend') = 'client backend'
"""

#: Ends one session, whosever it is.
END: LiteralString = "SELECT pg_terminate_backend({pid})"

#: Sessions of a grant. One whose account was dropped under it has no name any more: such a session
#: is nobody's by right, and counts for every grant until it is ended.
_SESSIONS: LiteralString = """
    pid <> pg_backend_pid() AND usesysid IS NOT NULL AND (usename = {name} OR usename IS NULL)
"""

#: Ends the sessions of a grant.
KILL: LiteralString = f"""
    SELECT pid, backend_start, pg_terminate_backend(pid) FROM pg_stat_activity WHERE {_SESSIONS}
"""

#: Prepared transactions of the account, which outlive its sessions.
PREPARED: LiteralString = "SELECT database, gid FROM pg_prepared_xacts WHERE owner = {name}"

#: Databases in which the account owns something or was granted something.
FOOTPRINT: LiteralString = """
    SELECT DISTINCT coalesce(d.datname, current_database()) FROM pg_shdepend s
      LEFT JOIN pg_database d ON d.oid = s.dbid
     WHERE s.refclassid = 'pg_authid'::regclass
       AND s.refobjid = (SELECT oid FROM pg_roles WHERE rolname = {name})
"""

#: Lets the connector act as the account, which it made but is no member of.
JOIN: LiteralString = "GRANT {account} TO CURRENT_USER {options}"

#: Takes that back, so that the connector has what it grants no longer than it must.
LEAVE: LiteralString = "REVOKE {account} FROM CURRENT_USER"

#: Who inherits: the role that sessions began as, else another role that the account is in.
HEIR: LiteralString = """
    SELECT g.rolname FROM pg_auth_members m
      JOIN pg_roles a ON a.oid = m.member JOIN pg_roles g ON g.oid = m.roleid
      LEFT JOIN pg_db_role_setting s ON s.setrole = a.oid AND s.setdatabase = 0
     WHERE a.rolname = {name}
     ORDER BY coalesce('role=' || g.rolname = ANY (s.setconfig), false) DESC, g.rolname LIMIT 1
"""

#: Acts as the account: a member of the heir, so that the connector need not be one.
BECOME: LiteralString = "SET ROLE {account}"

#: Acts as the connector again.
UNBECOME: LiteralString = "RESET ROLE"

#: Gives what the account owns in this database to its heir.
REASSIGN: LiteralString = "REASSIGN OWNED BY {account} TO {heir}"

#: Takes back what was granted to the account in this database, as far as its heir may: what an
#: owner of something else granted to this account by hand, only that owner can take back.
DISOWN: LiteralString = "DROP OWNED BY {account}"

#: Gives up a prepared transaction.
ROLL_BACK: LiteralString = "ROLLBACK PREPARED {gid}"

#: Removes the account. PostgreSQL refuses while anything anywhere still depends on it.
DROP: LiteralString = "DROP ROLE IF EXISTS {account}"

#: One look at an endpoint: who it is, whether we see at all, and what there is of the grant.
LOOK: LiteralString = f"""
    SELECT {IDENTITY}, pg_is_in_recovery(), ({POSITION})::text,
      coalesce(bool_or(pid = pg_backend_pid() AND usename = current_user), false)
        AND EXISTS (SELECT FROM pg_roles WHERE rolname = current_user)
        AND pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'),
      (SELECT count(*) FROM pg_roles WHERE rolname = {{name}}),
      count(*) FILTER (WHERE {_SESSIONS}),
      count(*) FILTER (WHERE usename = current_user AND application_name = {{name}}
                         AND pid <> pg_backend_pid()),
      (SELECT count(*) FROM pg_prepared_xacts WHERE owner = {{name}})
      FROM pg_stat_activity
"""

#: Whether a replica has replayed all that the primary had written.
CAUGHT_UP: LiteralString = f"SELECT ({POSITION}) >= %s::pg_lsn"

#: Every account, with what it is a member of, and what it may do by itself.
ACCOUNTS: LiteralString = """
    SELECT r.rolname, r.rolcanlogin, r.rolsuper,
           ARRAY(SELECT DISTINCT g.rolname::text FROM pg_auth_members m
                   JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid ORDER BY 1),
           CASE WHEN isfinite(r.rolvaliduntil) THEN r.rolvaliduntil END,
           coalesce(r.rolvaliduntil = '-infinity', false),
           array_remove(ARRAY[CASE WHEN r.rolbypassrls THEN 'bypassrls' END,
                              CASE WHEN r.rolcreatedb THEN 'createdb' END,
                              CASE WHEN r.rolcreaterole THEN 'createrole' END,
                              CASE WHEN r.rolreplication THEN 'replication' END], NULL)
      FROM pg_roles r WHERE r.rolname !~ '^pg_' ORDER BY r.rolname
"""

#: Every session that belongs to an account, with the id under which the log knows it (`%c`).
SESSIONS: LiteralString = """
    SELECT coalesce(usename, 'dropped role ' || usesysid), backend_start,
           coalesce(host(client_addr) || ':' || client_port, 'local'),
           to_hex(trunc(extract(epoch FROM backend_start))::bigint) || '.' || to_hex(pid)
      FROM pg_stat_activity
     WHERE usesysid IS NOT NULL AND backend_start IS NOT NULL AND pid <> pg_backend_pid()
     ORDER BY backend_start, pid
"""

#: The databases that one can connect to at all.
DATABASES: LiteralString = """
    SELECT datname FROM pg_database
     WHERE datallowconn AND has_database_privilege(oid, 'CONNECT') ORDER BY datname
"""

#: Every privilege given on an object of this database, system objects and owners left out.
PRIVILEGES: LiteralString = """
    WITH objects AS (
      SELECT n.nspname || '.' || c.relname AS name, c.relacl AS acl, c.relowner AS owner
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      UNION ALL
      SELECT n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid)
             || ')', p.proacl, p.proowner
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
       WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      UNION ALL
      SELECT nspname, nspacl, nspowner FROM pg_namespace
       WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
      UNION ALL
      SELECT 'database', datacl, datdba FROM pg_database WHERE datname = current_database())
    SELECT DISTINCT CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(x.grantee) END,
           o.name, x.privilege_type
      FROM objects o, aclexplode(o.acl) x WHERE x.grantee <> o.owner ORDER BY 1, 2, 3
"""
