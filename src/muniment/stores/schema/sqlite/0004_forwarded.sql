-- How far each sink of events was told of the log. Whoever edits it has records told twice, or never.

CREATE TABLE forwarded (
  sink TEXT PRIMARY KEY,
  next INTEGER NOT NULL,
  last INTEGER
) STRICT, WITHOUT ROWID;
