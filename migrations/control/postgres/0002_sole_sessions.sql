-- A keygen or refresh has one session, whichever coordinator records it: a share that was promised in one would stand in the
-- way of another. A signing may have several.
ALTER TABLE sessions ADD COLUMN sole BOOLEAN NOT NULL DEFAULT FALSE;
CREATE UNIQUE INDEX sole_session_of_order ON sessions (order_id) WHERE sole;

-- Whoever carried the order out has given up: no session follows this one.
ALTER TABLE sessions ADD COLUMN last BOOLEAN NOT NULL DEFAULT FALSE;

-- When an open order is good for nothing any more, in milliseconds since 1970. One that has no session by then is
-- closed. Those from before this column never are.
ALTER TABLE open_orders ADD COLUMN expires BIGINT NOT NULL DEFAULT 4102444800000;
