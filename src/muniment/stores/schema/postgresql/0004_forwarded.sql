-- How far each sink of events was told of the log. Whoever edits it has records told twice, or never.

CREATE TABLE muniment.forwarded (
  sink text COLLATE "C" PRIMARY KEY,
  next bigint NOT NULL,
  last bigint
);
