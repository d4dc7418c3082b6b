-- What account service and coordinator must not forget. No secret is in here: orders, certificates and reports are
-- signed, not sealed.

-- Accounts. state: 'creating' until there is a certificate, then 'active'; 'failed' when no key came of it. Times are in
-- milliseconds since 1970.
CREATE TABLE accounts (
    id           BYTEA PRIMARY KEY,
    user_id      TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('creating', 'active', 'failed')),
    scheme       TEXT NOT NULL,
    protocol     TEXT NOT NULL,
    threshold    BYTEA NOT NULL,
    parties      BYTEA NOT NULL,
    -- The index of the party whose share a user keeps; and those that must be among the signers.
    user_party   BIGINT,
    mandatory    BYTEA NOT NULL,
    created      BIGINT NOT NULL,
    epoch        BIGINT NOT NULL DEFAULT 0,
    certificate  BYTEA,
    outputs      BYTEA
);
CREATE INDEX accounts_by_user ON accounts (user_id);

-- Keygens and refreshes of which it is not known yet what came of them: they may still hold promises at some parties.
CREATE TABLE open_orders (
    number    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account   BYTEA NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    order_id  BYTEA NOT NULL,
    UNIQUE (account, order_id)
);

-- Orders and the sessions made for them. status: 'running', then 'completed' or 'failed'.
CREATE TABLE sessions (
    -- In the order in which they were recorded.
    number     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         BYTEA NOT NULL UNIQUE,
    order_id   BYTEA NOT NULL,
    account    BYTEA NOT NULL,
    -- The signed order, as bytes.
    ordered    BYTEA NOT NULL,
    signers    BYTEA NOT NULL,
    -- Of the account's key, where it has one: what signatures under derived keys are verified with.
    chain_code BYTEA,
    digest     BYTEA NOT NULL,
    created    BIGINT NOT NULL,
    deadline   BIGINT NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('running', 'completed', 'failed')),
    ended      BIGINT,
    code       TEXT,
    reason     TEXT,
    culprits   BYTEA
);
CREATE INDEX sessions_by_order ON sessions (order_id, created);
CREATE INDEX sessions_by_age ON sessions (created);
CREATE INDEX running_sessions ON sessions (deadline) WHERE status = 'running';

-- Plans that are to be published. A row goes when its plan is in the queue.
CREATE TABLE outbox (
    session  BYTEA PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    plan     BYTEA NOT NULL
);

-- What the parties reported, as they signed it: one report per session and party.
CREATE TABLE reports (
    session  BYTEA NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    party    BIGINT NOT NULL,
    report   BYTEA NOT NULL,
    -- How much it says: one that says less does not take its place.
    worth    BIGINT NOT NULL,
    PRIMARY KEY (session, party)
);

-- Idempotency keys. subject: what the run is about (an account id, an order id), so that a later run can find what an
-- interrupted one has led to. held_until: before that nobody else may run it. status and answer: there when the run is
-- over.
CREATE TABLE idempotency (
    caller      TEXT NOT NULL,
    name        TEXT NOT NULL,
    request     BYTEA NOT NULL,
    subject     BYTEA NOT NULL,
    runner      BYTEA NOT NULL,
    started     BIGINT NOT NULL,
    held_until  BIGINT NOT NULL,
    status      BIGINT,
    answer      TEXT,
    PRIMARY KEY (caller, name)
);
CREATE INDEX idempotency_by_age ON idempotency (started);
