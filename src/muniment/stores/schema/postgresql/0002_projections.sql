-- Projections: rebuilt from the log at will. Whoever edits one gains nothing.

CREATE TABLE muniment.cases (
  case_id    text COLLATE "C" PRIMARY KEY,
  kind       text COLLATE "C" NOT NULL,
  state      text COLLATE "C" NOT NULL,
  requester  text COLLATE "C" NOT NULL,
  resource   text COLLATE "C" NOT NULL,
  role       text COLLATE "C" NOT NULL,
  groups     text COLLATE "C" NOT NULL,
  marked     boolean NOT NULL,
  opened_at  text COLLATE "C" NOT NULL,
  changed_at text COLLATE "C" NOT NULL,
  until      text COLLATE "C",
  about      text COLLATE "C" NOT NULL,
  records    bigint NOT NULL,
  closed     boolean NOT NULL
);

CREATE INDEX cases_by_state ON muniment.cases (kind, state, opened_at);
CREATE INDEX cases_by_age ON muniment.cases (kind, opened_at, case_id);
CREATE INDEX cases_by_requester ON muniment.cases (requester, opened_at);
CREATE INDEX cases_by_about ON muniment.cases (about) WHERE about <> '';

-- What a worker has to look at, and when; and which node's worker has claimed it, until when by
-- this server's clock.
CREATE TABLE muniment.due (
  case_id    text COLLATE "C" PRIMARY KEY,
  at         text COLLATE "C" NOT NULL,
  holder     text,
  held_until timestamptz
);

CREATE INDEX due_by_time ON muniment.due (at);

-- What one node does for all of them.
CREATE TABLE muniment.duties (
  name       text COLLATE "C" PRIMARY KEY,
  holder     text NOT NULL,
  held_until timestamptz NOT NULL
);

-- Answers given under an Idempotency-Key.
CREATE TABLE muniment.answers (
  principal text COLLATE "C" NOT NULL,
  operation text COLLATE "C" NOT NULL,
  key       text COLLATE "C" NOT NULL,
  body      bytea NOT NULL,
  case_id   text COLLATE "C" NOT NULL,
  at        text COLLATE "C" NOT NULL,
  PRIMARY KEY (principal, operation, key)
);
