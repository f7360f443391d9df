-- What was decided about each transaction of a device, until the device has stored the decision.
CREATE TABLE IF NOT EXISTS upload_verdicts (
  user_id text NOT NULL,
  client_id text NOT NULL,
  transaction_id uuid NOT NULL,
  seq bigint NOT NULL,
  ops_hash text NOT NULL,
  verdict jsonb NOT NULL,
  -- The rows of a rejected one: what builds on them is rejected with it.
  touched text[] NOT NULL,
  -- An operator wants it again.
  reopen boolean NOT NULL DEFAULT false,
  decided_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (user_id, client_id, transaction_id)
);
-- Up to which number each device has stored the decisions.
CREATE TABLE IF NOT EXISTS upload_clients (
  user_id text NOT NULL,
  client_id text NOT NULL,
  answered bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (user_id, client_id)
);
