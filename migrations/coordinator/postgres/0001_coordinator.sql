-- What coordinators must not forget. Nothing here is secret, and nobody trusts it: orders and reports are signed. Times are in
-- milliseconds since 1970.

-- Orders and the sessions made for them. status: 'running', then 'completed' or 'failed'.
CREATE TABLE sessions (
    -- In the order in which they were recorded.
    number        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id            BYTEA NOT NULL UNIQUE,
    order_id      BYTEA NOT NULL,
    account       BYTEA NOT NULL,
    -- The signed order, as bytes.
    ordered       BYTEA NOT NULL,
    signers       BYTEA NOT NULL,
    -- Of the account's key, where it has one: what signatures under derived keys are verified with.
    chain_code    BYTEA,
    digest        BYTEA NOT NULL,
    created       BIGINT NOT NULL,
    deadline      BIGINT NOT NULL,
    -- Which session of its order it is, from 1 on: two coordinators never make the same one.
    attempt       BIGINT NOT NULL,
    status        TEXT NOT NULL CHECK (status IN ('running', 'completed', 'failed')),
    ended         BIGINT,
    code          TEXT,
    reason        TEXT,
    culprits      BYTEA,
    -- Whether whoever carried the order out has given up: no session follows this one.
    is_final      BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX sessions_by_order ON sessions (order_id, created);
CREATE INDEX sessions_by_age ON sessions (created);
CREATE INDEX running_sessions ON sessions (deadline) WHERE status = 'running';
CREATE UNIQUE INDEX attempts_of_order ON sessions (order_id, attempt);

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
    rank     BIGINT NOT NULL,
    PRIMARY KEY (session, party)
);

-- The word of parties that they have activated the current share set of an account, signed.
CREATE TABLE acknowledgements (
    account          BYTEA NOT NULL,
    epoch            BIGINT NOT NULL,
    share_set        BYTEA NOT NULL,
    party            BIGINT NOT NULL,
    acknowledgement  BYTEA NOT NULL,
    PRIMARY KEY (share_set, party)
);
CREATE INDEX acknowledgements_by_account ON acknowledgements (account);

-- Parties that others never work with again on a share set of an account, as those have signed it. share_set is empty for a ban from
-- the account's keygen.
CREATE TABLE bans (
    account     BYTEA NOT NULL,
    share_set   BYTEA NOT NULL,
    decided_by  BIGINT NOT NULL,
    party       BIGINT NOT NULL,
    ban         BYTEA NOT NULL,
    PRIMARY KEY (account, share_set, decided_by, party)
);
