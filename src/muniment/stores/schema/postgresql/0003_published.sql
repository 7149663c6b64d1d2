-- Checkpoints as others were shown them: with cosignatures of witnesses, and time stamps.

CREATE TABLE muniment.published (
  size bigint PRIMARY KEY,
  note bytea NOT NULL
);

CREATE TABLE muniment.stamps (
  size      bigint NOT NULL,
  authority text COLLATE "C" NOT NULL,
  token     bytea NOT NULL,
  PRIMARY KEY (size, authority)
);
