-- Projections: rebuilt from the log at will. Whoever edits one gains nothing.

CREATE TABLE cases (
  case_id    TEXT PRIMARY KEY,
  kind       TEXT NOT NULL,
  state      TEXT NOT NULL,
  requester  TEXT NOT NULL,
  resource   TEXT NOT NULL,
  role       TEXT NOT NULL,
  groups     TEXT NOT NULL,
  marked     INTEGER NOT NULL,
  opened_at  TEXT NOT NULL,
  changed_at TEXT NOT NULL,
  until      TEXT,
  about      TEXT NOT NULL,
  records    INTEGER NOT NULL,
  closed     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX cases_by_state ON cases (kind, state, opened_at);
CREATE INDEX cases_by_requester ON cases (requester, opened_at);
CREATE INDEX cases_by_about ON cases (about) WHERE about <> '';

-- What the worker has to look at, and when.
CREATE TABLE due (
  case_id TEXT PRIMARY KEY,
  at      TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX due_by_time ON due (at);

-- Answers given under an Idempotency-Key.
CREATE TABLE answers (
  principal TEXT NOT NULL,
  operation TEXT NOT NULL,
  key       TEXT NOT NULL,
  body      BLOB NOT NULL,
  case_id   TEXT NOT NULL,
  at        TEXT NOT NULL,
  PRIMARY KEY (principal, operation, key)
) STRICT, WITHOUT ROWID;
