-- The log. Entries are never changed: the triggers are a fence, the proof is the tree.

CREATE TABLE muniment.entries (
  idx    bigint PRIMARY KEY,
  leaf   bytea NOT NULL CHECK (octet_length(leaf) = 32),
  header bytea NOT NULL
);

CREATE FUNCTION muniment.refuse_gap() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  IF NEW.idx IS DISTINCT FROM (SELECT coalesce(max(idx) + 1, 0) FROM muniment.entries) THEN
    RAISE EXCEPTION 'entries are dense and never replaced'
      USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $body$;

CREATE FUNCTION muniment.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  RAISE EXCEPTION '% are never changed and never deleted', TG_TABLE_NAME
    USING ERRCODE = 'integrity_constraint_violation';
END $body$;

CREATE TRIGGER entries_are_dense BEFORE INSERT ON muniment.entries
  FOR EACH ROW EXECUTE FUNCTION muniment.refuse_gap();
CREATE TRIGGER entries_stay BEFORE UPDATE OR DELETE ON muniment.entries
  FOR EACH ROW EXECUTE FUNCTION muniment.refuse_change();
CREATE TRIGGER entries_remain BEFORE TRUNCATE ON muniment.entries
  FOR EACH STATEMENT EXECUTE FUNCTION muniment.refuse_change();

-- ALWAYS: not even a session with `session_replication_role = replica` gets around them.
ALTER TABLE muniment.entries ENABLE ALWAYS TRIGGER entries_are_dense;
ALTER TABLE muniment.entries ENABLE ALWAYS TRIGGER entries_stay;
ALTER TABLE muniment.entries ENABLE ALWAYS TRIGGER entries_remain;

-- Where the records of a case lie.
CREATE TABLE muniment.case_entries (
  case_id  text COLLATE "C" NOT NULL,
  position bigint NOT NULL,
  idx      bigint NOT NULL,
  PRIMARY KEY (case_id, position)
);

-- Content and salt of sections: the only place with personal data. An erasure rewrites the shelf
-- that the section lay on, so they lie on many: 1,024 entries on one, then on the next.
CREATE TABLE muniment.sections (
  shelf   smallint NOT NULL,
  idx     bigint NOT NULL,
  name    text COLLATE "C" NOT NULL,
  salt    bytea NOT NULL,
  content bytea NOT NULL,
  PRIMARY KEY (shelf, idx, name)
) PARTITION BY LIST (shelf);

DO $body$
DECLARE
  shelf integer;
  place text;
BEGIN
  FOR shelf IN 0..63 LOOP
    EXECUTE format('CREATE TABLE muniment.sections_%s PARTITION OF muniment.sections '
                   'FOR VALUES IN (%s)', shelf, shelf);
  END LOOP;
  -- ANALYZE would keep samples of what is erased
  FOR place IN SELECT relid::text FROM pg_partition_tree('muniment.sections') WHERE isleaf
               UNION ALL SELECT 'muniment.sections' LOOP
    EXECUTE format('ALTER TABLE ONLY %s ALTER COLUMN content SET STATISTICS 0, '
                   'ALTER COLUMN salt SET STATISTICS 0', place);
  END LOOP;
END $body$;

-- `gone`: the bytes have left the database's files, too.
CREATE TABLE muniment.tombstones (
  idx  bigint NOT NULL,
  name text COLLATE "C" NOT NULL,
  rule text NOT NULL,
  gone boolean NOT NULL DEFAULT false,
  PRIMARY KEY (idx, name)
);

CREATE INDEX tombstones_unfinished ON muniment.tombstones (idx, name) WHERE NOT gone;

CREATE TABLE muniment.documents (
  digest  bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
  content bytea NOT NULL
);

-- Level 0 only when full; higher levels as far as they go.
CREATE TABLE muniment.tiles (
  level  smallint NOT NULL,
  number bigint NOT NULL,
  hashes bytea NOT NULL,
  PRIMARY KEY (level, number)
);
ALTER TABLE muniment.tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

CREATE TABLE muniment.checkpoints (
  size bigint PRIMARY KEY,
  note bytea NOT NULL
);

-- Whoever writes to the log locks its one row first, whoever founds it too.
CREATE TABLE muniment.log_state (
  one        boolean PRIMARY KEY DEFAULT true CHECK (one),
  size       bigint NOT NULL,
  peaks      bytea NOT NULL,
  checkpoint bytea NOT NULL
);
INSERT INTO muniment.log_state (size, peaks, checkpoint) VALUES (0, '', '');
