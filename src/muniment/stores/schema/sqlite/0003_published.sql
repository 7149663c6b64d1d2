-- Checkpoints as others were shown them: with cosignatures of witnesses, and time stamps.

CREATE TABLE published (
  size INTEGER PRIMARY KEY,
  note BLOB NOT NULL
) STRICT;

CREATE TABLE stamps (
  size      INTEGER NOT NULL,
  authority TEXT NOT NULL,
  token     BLOB NOT NULL,
  PRIMARY KEY (size, authority)
) STRICT, WITHOUT ROWID;
