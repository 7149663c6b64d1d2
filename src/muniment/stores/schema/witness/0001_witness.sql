-- What a witness remembers. Its whole worth is that heads never go back: the triggers are a fence.

CREATE TABLE identity (
  one  INTEGER PRIMARY KEY CHECK (one = 1),
  vkey TEXT NOT NULL
) STRICT;

-- The head cosigned last, for each log that was ever cosigned.
CREATE TABLE heads (
  origin TEXT PRIMARY KEY,
  -- SHA-256 of the origin, as monitors name it
  named  BLOB NOT NULL UNIQUE CHECK (length(named) = 32),
  size   INTEGER NOT NULL,
  root   BLOB NOT NULL CHECK (length(root) = 32),
  note   BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER heads_only_grow BEFORE UPDATE ON heads
WHEN NEW.origin <> OLD.origin OR NEW.size < OLD.size OR (NEW.size = OLD.size AND NEW.root <> OLD.root)
BEGIN SELECT raise(ABORT, 'a head never goes back'); END;

CREATE TRIGGER heads_remain BEFORE DELETE ON heads
BEGIN SELECT raise(ABORT, 'a head is never forgotten'); END;

-- Refused requests that a log's own key had signed, once for each head.
CREATE TABLE refused (
  origin   TEXT NOT NULL,
  size     INTEGER NOT NULL,
  root     BLOB NOT NULL,
  outcome  TEXT NOT NULL,
  at       INTEGER NOT NULL,
  old      INTEGER NOT NULL,
  proof    BLOB NOT NULL,
  note     BLOB NOT NULL,
  cosigned BLOB,
  PRIMARY KEY (origin, size, root)
) STRICT;

-- How many more there were than are kept.
CREATE TABLE dropped (
  origin  TEXT NOT NULL,
  outcome TEXT NOT NULL,
  count   INTEGER NOT NULL,
  PRIMARY KEY (origin, outcome)
) STRICT, WITHOUT ROWID;
