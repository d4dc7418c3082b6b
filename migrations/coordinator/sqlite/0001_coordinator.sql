-- What coordinators must not forget. Nothing here is secret, and nobody trusts it: orders and reports are signed. Times are in
-- milliseconds since 1970.

-- Orders and the sessions made for them. status: 'running', then 'completed' or 'failed'.
CREATE TABLE sessions (
    -- In the order in which they were recorded.
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    id            BLOB NOT NULL UNIQUE,
    order_id      BLOB NOT NULL,
    account       BLOB NOT NULL,
    -- The signed order, as bytes.
    ordered       BLOB NOT NULL,
    signers       BLOB NOT NULL,
    -- Of the account's key, where it has one: what signatures under derived keys are verified with.
    chain_code    BLOB,
    digest        BLOB NOT NULL,
    created       INTEGER NOT NULL,
    deadline      INTEGER NOT NULL,
    -- Which session of its order it is, from 1 on: two coordinators never make the same one.
    attempt       INTEGER NOT NULL,
    status        TEXT NOT NULL CHECK (status IN ('running', 'completed', 'failed')),
    ended         INTEGER,
    code          TEXT,
    reason        TEXT,
    culprits      BLOB,
    -- Whether whoever carried the order out has given up: no session follows this one.
    is_final      INTEGER NOT NULL DEFAULT FALSE
) STRICT;
CREATE INDEX sessions_by_order ON sessions (order_id, created);
CREATE INDEX sessions_by_age ON sessions (created);
CREATE INDEX running_sessions ON sessions (deadline) WHERE status = 'running';
CREATE UNIQUE INDEX attempts_of_order ON sessions (order_id, attempt);

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
    rank     INTEGER NOT NULL,
    PRIMARY KEY (session, party)
) STRICT;

-- The word of parties that they have activated the current share set of an account, signed.
CREATE TABLE acknowledgements (
    account          BLOB NOT NULL,
    epoch            INTEGER NOT NULL,
    share_set        BLOB NOT NULL,
    party            INTEGER NOT NULL,
    acknowledgement  BLOB NOT NULL,
    PRIMARY KEY (share_set, party)
) STRICT;
CREATE INDEX acknowledgements_by_account ON acknowledgements (account);

-- Parties that others never work with again on a share set of an account, as those have signed it. share_set is empty for a ban from
-- the account's keygen.
CREATE TABLE bans (
    account     BLOB NOT NULL,
    share_set   BLOB NOT NULL,
    decided_by  INTEGER NOT NULL,
    party       INTEGER NOT NULL,
    ban         BLOB NOT NULL,
    PRIMARY KEY (account, share_set, decided_by, party)
) STRICT;
