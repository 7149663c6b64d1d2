-- What sources sent, and what was read from it. The log has the roots: triggers and rights are a
-- fence. Moments are microseconds since 1970, by the source's clock.

CREATE FUNCTION muniment.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  RAISE EXCEPTION '% are never changed and never deleted', TG_TABLE_NAME
    USING ERRCODE = 'integrity_constraint_violation';
END $body$;

CREATE TABLE muniment.sources (
  id              integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name            text COLLATE "C" NOT NULL UNIQUE,
  resource        text COLLATE "C" NOT NULL,
  next            bigint NOT NULL,
  sealed          bigint NOT NULL CHECK (sealed <= next),
  rejected        bigint NOT NULL,
  rejected_sealed bigint NOT NULL CHECK (rejected_sealed <= rejected),
  cursor          text,
  received        bigint
);

-- How many events of each type a source ever gave.
CREATE TABLE muniment.counts (
  source integer NOT NULL,
  type   text COLLATE "C" NOT NULL,
  events bigint NOT NULL,
  PRIMARY KEY (source, type)
);

-- Which entry of the log has the events below a number, from the seal before it on.
CREATE TABLE muniment.seals (
  source integer NOT NULL,
  stop   bigint NOT NULL,
  idx    bigint NOT NULL,
  PRIMARY KEY (source, stop)
);

-- Whoever writes locks its one row first: what arrives is numbered in the order of commits.
CREATE TABLE muniment.arrival (
  one  boolean PRIMARY KEY DEFAULT true CHECK (one),
  next bigint NOT NULL
);
INSERT INTO muniment.arrival (next) VALUES (1);

-- Some events of one source, numbered one after the other; their contents lie apart.
CREATE TABLE muniment.places (
  -- of its first event, in the order of arrival over all sources
  row         bigint PRIMARY KEY,
  source      integer NOT NULL,
  -- number of its first event
  start       bigint NOT NULL,
  count       smallint NOT NULL,
  first       bigint NOT NULL,
  last        bigint NOT NULL,
  -- what its source speaks of
  resource    text COLLATE "C" NOT NULL,
  -- also of erased events
  commitments bytea NOT NULL CHECK (octet_length(commitments) = 32 * count),
  UNIQUE (source, start)
);
ALTER TABLE muniment.places ALTER COLUMN commitments SET STORAGE EXTERNAL;

CREATE TRIGGER places_stay BEFORE UPDATE OR DELETE ON muniment.places
  FOR EACH ROW EXECUTE FUNCTION muniment.refuse_change();
CREATE TRIGGER places_remain BEFORE TRUNCATE ON muniment.places
  FOR EACH STATEMENT EXECUTE FUNCTION muniment.refuse_change();
CREATE TRIGGER seals_stay BEFORE UPDATE OR DELETE ON muniment.seals
  FOR EACH ROW EXECUTE FUNCTION muniment.refuse_change();
CREATE TRIGGER seals_remain BEFORE TRUNCATE ON muniment.seals
  FOR EACH STATEMENT EXECUTE FUNCTION muniment.refuse_change();

-- ALWAYS: not even a session with `session_replication_role = replica` gets around them.
ALTER TABLE muniment.places ENABLE ALWAYS TRIGGER places_stay;
ALTER TABLE muniment.places ENABLE ALWAYS TRIGGER places_remain;
ALTER TABLE muniment.seals ENABLE ALWAYS TRIGGER seals_stay;
ALTER TABLE muniment.seals ENABLE ALWAYS TRIGGER seals_remain;

-- Salts, and records with what was read from them: `stores.event_blocks`. An erasure rewrites the
-- shelf that a block lies on.
CREATE TABLE muniment.contents (
  shelf  smallint NOT NULL,
  row    bigint NOT NULL,
  salts  bytea NOT NULL,
  packed bytea NOT NULL,
  PRIMARY KEY (shelf, row)
) PARTITION BY LIST (shelf);

DO $body$
DECLARE
  shelf integer;
  place text;
BEGIN
  FOR shelf IN 0..63 LOOP
    EXECUTE format('CREATE TABLE muniment.contents_%s PARTITION OF muniment.contents '
                   'FOR VALUES IN (%s)', shelf, shelf);
  END LOOP;
  -- ANALYZE would keep samples of what is erased
  FOR place IN SELECT relid::text FROM pg_partition_tree('muniment.contents') WHERE isleaf
               UNION ALL SELECT 'muniment.contents' LOOP
    EXECUTE format('ALTER TABLE ONLY %s '
                   'ALTER COLUMN packed SET STATISTICS 0, ALTER COLUMN packed SET STORAGE EXTERNAL, '
                   'ALTER COLUMN salts SET STATISTICS 0, ALTER COLUMN salts SET STORAGE EXTERNAL',
                   place);
  END LOOP;
END $body$;

-- Shelves from which something was erased whose bytes may still be in a file.
CREATE TABLE muniment.unfinished (
  shelf smallint PRIMARY KEY,
  -- the transaction that erased last
  xact  text NOT NULL
);

-- Where events are found. No text of them stands here.
CREATE TABLE muniment.events (
  row      bigint PRIMARY KEY,
  -- first row of its block
  place    bigint NOT NULL,
  at       bigint NOT NULL,
  type     text COLLATE "C" NOT NULL,
  -- marks
  resource bigint NOT NULL,
  session  bigint,
  -- none where it is under nobody's grant
  link     integer
);

CREATE INDEX events_by_time ON muniment.events (at, row);
CREATE INDEX events_by_type ON muniment.events (type, at, row);
CREATE INDEX events_by_resource ON muniment.events (resource, type, at, row);
CREATE INDEX events_by_session ON muniment.events (session, row) WHERE session IS NOT NULL;
CREATE INDEX events_by_link ON muniment.events (link, row) WHERE link IS NOT NULL;

CREATE TABLE muniment.links (
  id       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  case_id  text COLLATE "C" NOT NULL,
  strength text COLLATE "C" NOT NULL,
  reason   text COLLATE "C" NOT NULL,
  standing text COLLATE "C" NOT NULL,
  UNIQUE (case_id, strength, reason, standing)
);

-- Marks of the keys of events that are linked to no grant.
CREATE TABLE muniment.waiting (
  mark bigint NOT NULL,
  row  bigint NOT NULL,
  PRIMARY KEY (mark, row)
);

-- SHA-256 of a key, and whose it is.
CREATE TABLE muniment.joined (
  key     bytea PRIMARY KEY CHECK (octet_length(key) = 32),
  case_id text COLLATE "C" NOT NULL
);
