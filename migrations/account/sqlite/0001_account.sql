-- What account services must not forget. Nothing here is secret. Only account services may write: a MAC says so in every row
-- whose content no signature proves (control-store/row_keys.rs).

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
    -- SHA-256 of the claim to the first share of that party.
    claim_hash   BLOB,
    mandatory    BLOB NOT NULL,
    created      INTEGER NOT NULL,
    -- Over all columns above but state.
    mac          BLOB NOT NULL,
    -- These prove themselves; epoch is the certificate's.
    epoch        INTEGER NOT NULL DEFAULT 0,
    certificate  BLOB,
    outputs      BLOB,
    -- Over the id and the public key, which is made once.
    key_mac      BLOB
) STRICT;
CREATE INDEX accounts_by_user ON accounts (user_id);
CREATE INDEX accounts_by_claim ON accounts (claim_hash);

-- Keygens and refreshes of which it is not known yet what came of them: they may still hold promises at some parties.
CREATE TABLE open_orders (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    account   BLOB NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    order_id  BLOB NOT NULL,
    -- When an open order is good for nothing any more. One that has no session by then is closed.
    expires   INTEGER NOT NULL,
    -- Over account, order_id and expires.
    mac       BLOB NOT NULL,
    UNIQUE (account, order_id)
) STRICT;

-- Idempotency keys. caller: a MAC of who has given the key, under a row key. ids: of what the request makes (an account, an order), so that a later attempt finds what an interrupted
-- one has led to. held_until: before that no other process may carry it out. status and answer: there when it is over.
CREATE TABLE idempotency (
    caller      TEXT NOT NULL,
    name        TEXT NOT NULL,
    request     BLOB NOT NULL,
    ids         BLOB NOT NULL,
    owner       BLOB NOT NULL,
    started     INTEGER NOT NULL,
    held_until  INTEGER NOT NULL,
    status      INTEGER,
    answer      TEXT,
    -- Over caller, name, request and started, and over ids before the end and status and answer after it.
    mac         BLOB NOT NULL,
    PRIMARY KEY (caller, name)
) STRICT;
CREATE INDEX idempotency_by_age ON idempotency (started);

-- One row: a MAC under a row key of this deployment, so that an account service with other keys does not start.
CREATE TABLE row_key_check (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    mac  BLOB NOT NULL
) STRICT;
