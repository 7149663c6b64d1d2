-- The log. Entries are never changed: the triggers are a fence, the proof is the tree.

CREATE TABLE entries (
  idx    INTEGER PRIMARY KEY,
  leaf   BLOB NOT NULL CHECK (length(leaf) = 32),
  header BLOB NOT NULL
) STRICT;

CREATE TRIGGER entries_are_dense BEFORE INSERT ON entries
WHEN NEW.idx <> (SELECT coalesce(max(idx) + 1, 0) FROM entries)
BEGIN SELECT raise(ABORT, 'entries are dense and never replaced'); END;

CREATE TRIGGER entries_stay BEFORE UPDATE ON entries
BEGIN SELECT raise(ABORT, 'entries are never changed'); END;

CREATE TRIGGER entries_remain BEFORE DELETE ON entries
BEGIN SELECT raise(ABORT, 'entries are never deleted'); END;

-- Where the records of a case lie, and where a leaf lies.
CREATE TABLE case_entries (
  case_id  TEXT NOT NULL,
  position INTEGER NOT NULL,
  idx      INTEGER NOT NULL,
  PRIMARY KEY (case_id, position)
) STRICT, WITHOUT ROWID;

-- Content and salt of sections: the only place with personal data.
CREATE TABLE sections (
  idx     INTEGER NOT NULL,
  name    TEXT NOT NULL,
  salt    BLOB NOT NULL,
  content BLOB NOT NULL,
  PRIMARY KEY (idx, name)
) STRICT;

CREATE TABLE tombstones (
  idx  INTEGER NOT NULL,
  name TEXT NOT NULL,
  rule TEXT NOT NULL,
  PRIMARY KEY (idx, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE documents (
  digest  BLOB PRIMARY KEY CHECK (length(digest) = 32),
  content BLOB NOT NULL
) STRICT;

-- Level 0 only when full; higher levels as far as they go.
CREATE TABLE tiles (
  level  INTEGER NOT NULL,
  number INTEGER NOT NULL,
  hashes BLOB NOT NULL,
  PRIMARY KEY (level, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
  size INTEGER PRIMARY KEY,
  note BLOB NOT NULL
) STRICT;

CREATE TABLE log_state (
  one        INTEGER PRIMARY KEY CHECK (one = 1),
  size       INTEGER NOT NULL,
  peaks      BLOB NOT NULL,
  checkpoint BLOB NOT NULL
) STRICT;
