-- What account service and coordinator must not forget. No secret is in here: orders, certificates and reports are
-- signed, not sealed.

-- Accounts. state: 'creating' until there is a certificate, then 'active'; 'failed' when no key came of it. Times are in
-- milliseconds since 1970.
CREATE TABLE accounts (
    id           BLOB PRIMARY KEY,
    user_id      TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('creating', 'active', 'failed')),
    scheme       TEXT NOT NULL,
    protocol     TEXT NOT NULL,
    threshold    BLOB NOT NULL,
    parties      BLOB NOT NULL,
    -- The index of the party whose share a user keeps; and those that must be among the signers.
    user_party   INTEGER,
    mandatory    BLOB NOT NULL,
    created      INTEGER NOT NULL,
    epoch        INTEGER NOT NULL DEFAULT 0,
    certificate  BLOB,
    outputs      BLOB
) STRICT;
CREATE INDEX accounts_by_user ON accounts (user_id);

-- Keygens and refreshes of which it is not known yet what came of them: they may still hold promises at some parties.
CREATE TABLE open_orders (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    account   BLOB NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    order_id  BLOB NOT NULL,
    UNIQUE (account, order_id)
) STRICT;

-- Orders and the sessions made for them. status: 'running', then 'completed' or 'failed'.
CREATE TABLE sessions (
    -- In the order in which they were recorded.
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         BLOB NOT NULL UNIQUE,
    order_id   BLOB NOT NULL,
    account    BLOB NOT NULL,
    -- The signed order, as bytes.
    ordered    BLOB NOT NULL,
    signers    BLOB NOT NULL,
    -- Of the account's key, where it has one: what signatures under derived keys are verified with.
    chain_code BLOB,
    digest     BLOB NOT NULL,
    created    INTEGER NOT NULL,
    deadline   INTEGER NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('running', 'completed', 'failed')),
    ended      INTEGER,
    code       TEXT,
    reason     TEXT,
    culprits   BLOB
) STRICT;
CREATE INDEX sessions_by_order ON sessions (order_id, created);
CREATE INDEX sessions_by_age ON sessions (created);
CREATE INDEX running_sessions ON sessions (deadline) WHERE status = 'running';

-- Plans that are to be published. A row goes when its plan is in the queue.
CREATE TABLE outbox (
    session  BLOB PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    plan     BLOB NOT NULL
) STRICT;

-- What the parties reported, as they signed it: one report per session and party.
CREATE TABLE reports (
    session  BLOB NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    party    INTEGER NOT NULL,
    report   BLOB NOT NULL,
    -- How much it says: one that says less does not take its place.
    worth    INTEGER NOT NULL,
    PRIMARY KEY (session, party)
) STRICT;

-- Idempotency keys. subject: what the run is about (an account id, an order id), so that a later run can find what an
-- interrupted one has led to. held_until: before that nobody else may run it. status and answer: there when the run is
-- over.
CREATE TABLE idempotency (
    caller      TEXT NOT NULL,
    name        TEXT NOT NULL,
    request     BLOB NOT NULL,
    subject     BLOB NOT NULL,
    runner      BLOB NOT NULL,
    started     INTEGER NOT NULL,
    held_until  INTEGER NOT NULL,
    status      INTEGER,
    answer      TEXT,
    PRIMARY KEY (caller, name)
) STRICT;
CREATE INDEX idempotency_by_age ON idempotency (started);
