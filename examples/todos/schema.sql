-- Made once, when there is no table `lists`.
CREATE TABLE lists (
  id uuid PRIMARY KEY,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  owner_id text NOT NULL,
  shared boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now()
);

-- owner_id and shared repeat those of the list: a sync config can filter by them.
CREATE TABLE todos (
  id uuid PRIMARY KEY,
  list_id uuid NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
  title text NOT NULL CHECK (length(title) BETWEEN 1 AND 500),
  done boolean NOT NULL DEFAULT false,
  owner_id text NOT NULL,
  shared boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON todos (list_id);

-- Owner and sharing of a todo are always those of its list, whoever writes it, also from SQL.
CREATE FUNCTION todo_follows_list() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  SELECT owner_id, shared INTO STRICT NEW.owner_id, NEW.shared FROM lists WHERE id = NEW.list_id;
  RETURN NEW;
END $$;
CREATE TRIGGER todo_follows_list BEFORE INSERT OR UPDATE OF list_id, owner_id, shared ON todos FOR EACH ROW EXECUTE FUNCTION todo_follows_list();
CREATE FUNCTION list_moves_todos() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE todos SET owner_id = NEW.owner_id, shared = NEW.shared WHERE list_id = NEW.id;
  RETURN NULL;
END $$;
CREATE TRIGGER list_moves_todos AFTER UPDATE OF owner_id, shared ON lists FOR EACH ROW EXECUTE FUNCTION list_moves_todos();

INSERT INTO lists (id, name, owner_id, shared) VALUES
  ('10000000-0000-4000-8000-000000000001', 'Weekend at the sea', 'alice', true),
  ('10000000-0000-4000-8000-000000000002', 'Groceries', 'alice', false),
  ('10000000-0000-4000-8000-000000000003', 'Bike repair', 'bob', false);
INSERT INTO todos (id, list_id, title, done, owner_id) VALUES
  ('20000000-0000-4000-8000-000000000001', '10000000-0000-4000-8000-000000000001', 'Check the tide table', true, ''),
  ('20000000-0000-4000-8000-000000000002', '10000000-0000-4000-8000-000000000001', 'Pack buckets and nets', false, ''),
  ('20000000-0000-4000-8000-000000000003', '10000000-0000-4000-8000-000000000001', 'Book the ferry', false, ''),
  ('20000000-0000-4000-8000-000000000004', '10000000-0000-4000-8000-000000000002', 'Lemons', false, ''),
  ('20000000-0000-4000-8000-000000000005', '10000000-0000-4000-8000-000000000002', 'Bread', true, ''),
  ('20000000-0000-4000-8000-000000000006', '10000000-0000-4000-8000-000000000003', 'New inner tube', false, '');
