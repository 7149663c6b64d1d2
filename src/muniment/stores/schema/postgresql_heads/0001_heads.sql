-- What is remembered apart from the log's database. It only grows.

CREATE FUNCTION muniment.refuse_shrinking() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  IF NEW.size > OLD.size OR (NEW.size = OLD.size AND NEW.checkpoint = OLD.checkpoint) THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'the head never goes back' USING ERRCODE = 'integrity_constraint_violation';
END $body$;

CREATE FUNCTION muniment.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  RAISE EXCEPTION 'what stands in `%` is never taken away', TG_TABLE_NAME
    USING ERRCODE = 'integrity_constraint_violation';
END $body$;

-- The largest signed checkpoint; of size -1 while there was none.
CREATE TABLE muniment.head (
  one        boolean PRIMARY KEY DEFAULT true CHECK (one),
  size       bigint NOT NULL,
  checkpoint bytea NOT NULL
);
INSERT INTO muniment.head (size, checkpoint) VALUES (-1, '');

CREATE TRIGGER head_grows BEFORE UPDATE ON muniment.head
  FOR EACH ROW EXECUTE FUNCTION muniment.refuse_shrinking();
CREATE TRIGGER head_stays BEFORE DELETE ON muniment.head
  FOR EACH ROW EXECUTE FUNCTION muniment.refuse_change();
CREATE TRIGGER head_remains BEFORE TRUNCATE ON muniment.head
  FOR EACH STATEMENT EXECUTE FUNCTION muniment.refuse_change();
-- ALWAYS: not even a session with `session_replication_role = replica` gets around them.
ALTER TABLE muniment.head ENABLE ALWAYS TRIGGER head_grows;
ALTER TABLE muniment.head ENABLE ALWAYS TRIGGER head_stays;
ALTER TABLE muniment.head ENABLE ALWAYS TRIGGER head_remains;

-- What was erased: no restored backup of the log's database takes it back.
CREATE TABLE muniment.erasures (
  number    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  record_id text COLLATE "C" NOT NULL,
  section   text COLLATE "C" NOT NULL,
  rule      text COLLATE "C" NOT NULL,
  UNIQUE (record_id, section, rule)
);

CREATE TRIGGER erasures_stay BEFORE UPDATE OR DELETE ON muniment.erasures
  FOR EACH ROW EXECUTE FUNCTION muniment.refuse_change();
CREATE TRIGGER erasures_remain BEFORE TRUNCATE ON muniment.erasures
  FOR EACH STATEMENT EXECUTE FUNCTION muniment.refuse_change();
ALTER TABLE muniment.erasures ENABLE ALWAYS TRIGGER erasures_stay;
ALTER TABLE muniment.erasures ENABLE ALWAYS TRIGGER erasures_remain;

-- What somebody remembers of another history of this log. A person looks, and takes it away.
CREATE TABLE muniment.contradictions (
  one  boolean PRIMARY KEY DEFAULT true CHECK (one),
  why  text NOT NULL,
  note bytea NOT NULL,
  kept timestamptz NOT NULL DEFAULT now()
);
