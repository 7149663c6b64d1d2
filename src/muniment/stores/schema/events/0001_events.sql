-- What sources sent, and what was read from it. The log has the roots: the triggers are a fence.

CREATE TABLE sources (
  id              INTEGER PRIMARY KEY,
  name            TEXT NOT NULL UNIQUE,
  resource        TEXT NOT NULL,
  next            INTEGER NOT NULL,
  sealed          INTEGER NOT NULL CHECK (sealed <= next),
  rejected        INTEGER NOT NULL,
  rejected_sealed INTEGER NOT NULL CHECK (rejected_sealed <= rejected),
  cursor          TEXT,
  -- microseconds since 1970, as all moments here
  received        INTEGER
) STRICT;

CREATE TRIGGER sources_only_grow BEFORE UPDATE ON sources
WHEN NEW.id <> OLD.id OR NEW.name <> OLD.name OR NEW.next < OLD.next OR NEW.sealed < OLD.sealed
  OR NEW.rejected < OLD.rejected OR NEW.rejected_sealed < OLD.rejected_sealed
BEGIN SELECT raise(ABORT, 'a source never goes back'); END;

CREATE TRIGGER sources_remain BEFORE DELETE ON sources
BEGIN SELECT raise(ABORT, 'a source is never forgotten'); END;

-- How many events of each type a source ever gave.
CREATE TABLE counts (
  source INTEGER NOT NULL,
  type   TEXT NOT NULL,
  events INTEGER NOT NULL,
  PRIMARY KEY (source, type)
) STRICT, WITHOUT ROWID;

-- Which entry of the log has the events below a number, from the seal before it on.
CREATE TABLE seals (
  source INTEGER NOT NULL,
  stop   INTEGER NOT NULL,
  idx    INTEGER NOT NULL,
  PRIMARY KEY (source, stop)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER seals_stay BEFORE UPDATE ON seals
BEGIN SELECT raise(ABORT, 'a seal is never changed'); END;

CREATE TRIGGER seals_remain BEFORE DELETE ON seals
BEGIN SELECT raise(ABORT, 'a seal is never broken'); END;

-- Some events of one source, numbered one after the other: `stores.event_blocks`.
CREATE TABLE blocks (
  -- of its first event, in the order of arrival over all sources
  row    INTEGER PRIMARY KEY,
  source INTEGER NOT NULL,
  -- number of its first event
  start  INTEGER NOT NULL,
  count  INTEGER NOT NULL,
  -- the earliest and the latest moment of its events, by the source's clock
  first  INTEGER NOT NULL,
  last   INTEGER NOT NULL,
  -- of an erased event: zeros
  salts  BLOB NOT NULL,
  -- records, and what was read from them, compressed
  packed BLOB NOT NULL,
  UNIQUE (source, start)
) STRICT;

CREATE TRIGGER blocks_stay BEFORE UPDATE OF row, source, start, count, first, last ON blocks
BEGIN SELECT raise(ABORT, 'of a block only events are erased'); END;

CREATE TRIGGER blocks_remain BEFORE DELETE ON blocks
BEGIN SELECT raise(ABORT, 'a block is never deleted'); END;

-- Of the events of a block, in their order: also of erased ones.
CREATE TABLE commitments (
  row    INTEGER PRIMARY KEY,
  hashes BLOB NOT NULL CHECK (length(hashes) % 32 = 0)
) STRICT;

CREATE TRIGGER commitments_stay BEFORE UPDATE ON commitments
BEGIN SELECT raise(ABORT, 'commitments are never changed'); END;

CREATE TRIGGER commitments_remain BEFORE DELETE ON commitments
BEGIN SELECT raise(ABORT, 'commitments are never deleted'); END;

-- Where events are found. No text of them stands here; of an erased event there is nothing.
CREATE TABLE events (
  row     INTEGER PRIMARY KEY,
  at      INTEGER NOT NULL,
  kind    INTEGER NOT NULL,
  -- mark of source and session
  session INTEGER,
  -- none where it is under nobody's grant
  link    INTEGER
) STRICT;

CREATE INDEX events_by_time ON events (at);
CREATE INDEX events_by_kind ON events (kind, at);
CREATE INDEX events_by_session ON events (session) WHERE session IS NOT NULL;
CREATE INDEX events_by_link ON events (link) WHERE link IS NOT NULL;

-- The types of events, each with the resource that they are about.
CREATE TABLE kinds (
  id       INTEGER PRIMARY KEY,
  -- a blob, for it may be any text of a source
  resource BLOB NOT NULL,
  type     TEXT NOT NULL,
  UNIQUE (resource, type)
) STRICT;

CREATE TABLE links (
  id       INTEGER PRIMARY KEY,
  case_id  TEXT NOT NULL,
  strength TEXT NOT NULL,
  reason   TEXT NOT NULL,
  standing TEXT NOT NULL,
  UNIQUE (case_id, strength, reason, standing)
) STRICT;

-- Marks of the keys of events that are linked to no grant.
CREATE TABLE waiting (
  mark INTEGER NOT NULL,
  row  INTEGER NOT NULL,
  PRIMARY KEY (mark, row)
) STRICT, WITHOUT ROWID;

-- SHA-256 of a key, and whose it is.
CREATE TABLE joined (
  key     BLOB PRIMARY KEY CHECK (length(key) = 32),
  case_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;
