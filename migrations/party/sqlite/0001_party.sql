-- What one party must not forget. Secrets are sealed before they come here (party-store/crypter.rs).

-- One row: a known text sealed under the master key, so that a wrong key is noticed at the start.
CREATE TABLE key_check (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    key_id  TEXT NOT NULL,
    sealed  BLOB NOT NULL
) STRICT;

-- One row, written with key_check when the database is first opened: the latest time that was seen, the earliest time of orders that
-- are taken (an operator has set the time back), the counter that every consumption, ban and activation raises, a random number that
-- tells this database from every other, and the highest counter that the party is known to have had in this database before it was set
-- back to an earlier state (0 if it was not; its operator sets it to 0). mac: over all of them, under a key that comes from the
-- master key.
CREATE TABLE state (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    latest_seen   INTEGER NOT NULL,
    orders_from   INTEGER NOT NULL,
    counter       INTEGER NOT NULL,
    database_id   BLOB NOT NULL,
    once_counter  INTEGER NOT NULL,
    mac           BLOB NOT NULL
) STRICT;

-- Orders that this party has started sessions for; kept until a day after they expire.
CREATE TABLE orders (
    id          BLOB PRIMARY KEY,
    expires_at  INTEGER NOT NULL,
    sessions    INTEGER NOT NULL,
    succeeded   INTEGER NOT NULL DEFAULT 0,
    -- Whether its signatures are counted in daily_signatures.
    counted     INTEGER NOT NULL DEFAULT 0
) STRICT;

-- How many signatures orders have asked for, by account and day (since 1970, UTC). Kept only where the operator has set a maximum.
CREATE TABLE daily_signatures (
    account     BLOB NOT NULL,
    day         INTEGER NOT NULL,
    signatures  INTEGER NOT NULL,
    PRIMARY KEY (account, day)
) STRICT;

-- Sessions that this party has claimed. outcome: NULL while it runs, then 'aborted', 'promised' or 'finished'; at the
-- user's party 'delivered' before 'promised', while the user has not confirmed.
CREATE TABLE sessions (
    id        BLOB PRIMARY KEY,
    plan      BLOB NOT NULL UNIQUE,
    order_id  BLOB NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    account   BLOB NOT NULL,
    me        INTEGER NOT NULL,
    digest    BLOB NOT NULL,
    -- Whether it is to make shares, and whether somebody has been told what came of it.
    exclusive INTEGER NOT NULL,
    reported  INTEGER NOT NULL DEFAULT 0,
    -- The share set that it uses; NULL in a keygen. The counterparties that may learn a bit of a secret from it, a bit for each:
    -- 1 for party 1, 2 for party 2, 4 for party 3. 0 where the protocol knows no such counterparty.
    share_set BLOB,
    exposed_to INTEGER NOT NULL,
    -- How many bits each of them may learn: one from a signature, more from a batch.
    exposed_bits INTEGER NOT NULL DEFAULT 0,
    -- Who runs it, and until when (in milliseconds since 1970).
    replica   TEXT NOT NULL,
    deadline  INTEGER NOT NULL,
    outcome   TEXT CHECK (outcome IN ('aborted', 'delivered', 'promised', 'finished'))
) STRICT;
CREATE INDEX orders_by_end ON orders (expires_at);
CREATE INDEX sessions_by_order ON sessions (order_id);
CREATE INDEX running_sessions ON sessions (account) WHERE outcome IS NULL;
CREATE INDEX unreported_sessions ON sessions (plan) WHERE exclusive AND NOT reported;

-- One keygen or refresh per account at a time.
CREATE TABLE locks (
    account  BLOB PRIMARY KEY,
    plan     BLOB NOT NULL
) STRICT;

-- Shares. data_key: the random key of this share set, sealed under a key of its account; facts and entries are sealed under it, so
-- that nothing of the share set opens any more once this row is gone. facts: what the party must know of its share before it takes on a
-- plan, and the names of its entries, sealed.
-- state: 'pending' while its promise lasts, then 'active' with its certificate, then 'retired'; at the user's party
-- 'delivered' before all that, while the promise is not given yet.
CREATE TABLE shares (
    plan         BLOB PRIMARY KEY,
    account      BLOB NOT NULL,
    epoch        INTEGER NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('delivered', 'pending', 'active', 'retired')),
    ready        BLOB NOT NULL,
    key_id       TEXT NOT NULL,
    data_key     BLOB NOT NULL,
    facts        BLOB NOT NULL,
    certificate  BLOB
) STRICT;
CREATE UNIQUE INDEX one_active_share ON shares (account) WHERE state = 'active';
CREATE INDEX shares_by_account ON shares (account);
CREATE INDEX pending_shares ON shares (plan) WHERE state = 'pending';

-- The vault entries of a share. name: a MAC of it, because the plugin has chosen it.
CREATE TABLE entries (
    plan    BLOB NOT NULL REFERENCES shares (plan) ON DELETE CASCADE,
    name    BLOB NOT NULL,
    key_id  TEXT NOT NULL,
    sealed  BLOB NOT NULL,
    PRIMARY KEY (plan, name)
) STRICT;

-- The word of the other parties that they have activated a share set, signed. With all of them, and an order that names it or a
-- later one, the other share sets of the account are erased.
CREATE TABLE acknowledgements (
    plan             BLOB NOT NULL REFERENCES shares (plan) ON DELETE CASCADE,
    party            INTEGER NOT NULL,
    acknowledgement  BLOB NOT NULL,
    PRIMARY KEY (plan, party)
) STRICT;

-- Parties that have promised a share and also said that they never would, with both of their signed statements.
CREATE TABLE contradictions (
    plan   BLOB NOT NULL,
    party  INTEGER NOT NULL,
    ready  BLOB NOT NULL,
    abort  BLOB NOT NULL,
    PRIMARY KEY (plan, party)
) STRICT;

-- Parties that this party never works with again on a share set of an account, by their indices, and the session in which they
-- cheated. share_set is empty for a ban from the account's keygen. lifted: the operator permits one refresh with the party, which is
-- the session of lift_plan once that is claimed.
CREATE TABLE bans (
    account    BLOB NOT NULL,
    share_set  BLOB NOT NULL,
    party      INTEGER NOT NULL,
    session    BLOB NOT NULL,
    lifted     INTEGER NOT NULL DEFAULT 0,
    lift_plan  BLOB,
    PRIMARY KEY (account, share_set, party)
) STRICT;

-- Bans that other parties have decided, as they signed them. They bind nobody but those who decided
-- them, and are kept for their sake.
CREATE TABLE ban_reports (
    account    BLOB NOT NULL,
    share_set  BLOB NOT NULL,
    decided_by INTEGER NOT NULL,
    party      INTEGER NOT NULL,
    report     BLOB NOT NULL,
    PRIMARY KEY (account, share_set, decided_by, party)
) STRICT;

-- A MAC for each account over the rows in shares (plan, epoch, state), bans, ban_reports and unknown_outcomes that belong to it, under
-- a key that comes from the master key: a row that is missing or was changed is noticed.
CREATE TABLE account_macs (
    account  BLOB PRIMARY KEY,
    mac      BLOB NOT NULL
) STRICT;

-- Signing sessions of which nobody knows whether the counterparty cheated: their process died, or their last step was cut.
CREATE TABLE unknown_outcomes (
    share_set  BLOB NOT NULL REFERENCES shares (plan) ON DELETE CASCADE,
    party      INTEGER NOT NULL,
    sessions   INTEGER NOT NULL,
    PRIMARY KEY (share_set, party)
) STRICT;

-- The database that each peer keeps its state in, and the highest state counter that it has told, by now and up to a while ago (times in seconds since 1970): a
-- hello that is on its way while the peer goes on may tell a lower one than those that overtake it.
CREATE TABLE peers (
    identity  BLOB PRIMARY KEY,
    database  BLOB NOT NULL,
    highest   INTEGER NOT NULL,
    marked    INTEGER NOT NULL,
    settled   INTEGER NOT NULL,
    turned    INTEGER NOT NULL,
    -- The hello that told the highest counter, signed: it shows the peer itself that it was set back since.
    hello     BLOB NOT NULL
) STRICT;

-- Parties whose lost shares the operator permits to repair, for a while: of one account, or (with an empty account) of each account
-- once.
CREATE TABLE repair_permits (
    id        BLOB PRIMARY KEY,
    -- The identity that the party has now, and the one with which it promised its shares.
    identity  BLOB NOT NULL,
    former    BLOB NOT NULL,
    account   BLOB NOT NULL,
    until     INTEGER NOT NULL,
    mac       BLOB NOT NULL
) STRICT;

-- Permits that repairs of an account have used. They stay.
CREATE TABLE used_permits (
    account   BLOB NOT NULL,
    id        BLOB NOT NULL,
    PRIMARY KEY (account, id)
) STRICT;

-- Components that made a signature that does not verify: no new session runs on them here.
CREATE TABLE suspended (
    digest  BLOB PRIMARY KEY
) STRICT;

-- Presignatures and prepared nonces, each for one use. pool: the process that made it, which alone has the key that it is sealed under.
-- signers: a bit for each party: 1 for party 1, 2 for party 2, 4 for party 3. digest: the component that made it. made_at: in
-- milliseconds since 1970.
CREATE TABLE pool (
    id            BLOB PRIMARY KEY,
    pool          BLOB NOT NULL,
    replica       TEXT NOT NULL,
    account       BLOB NOT NULL,
    share_set     BLOB NOT NULL,
    signers       INTEGER NOT NULL,
    share_format  INTEGER NOT NULL,
    digest        BLOB NOT NULL,
    made_at       INTEGER NOT NULL,
    sealed        BLOB NOT NULL
) STRICT;
CREATE INDEX pool_by_account ON pool (account, pool);
CREATE INDEX pool_by_component ON pool (digest);

-- Material that protocols keep beside shares, sealed with its name under the master key. scope: 'group' or 'party'; owner: the id of
-- the group of parties, and 32 zeros for the party. name: a MAC of it, because the plugin has chosen it.
CREATE TABLE vault (
    scope     TEXT NOT NULL CHECK (scope IN ('group', 'party')),
    owner     BLOB NOT NULL,
    protocol  TEXT NOT NULL,
    name      BLOB NOT NULL,
    key_id    TEXT NOT NULL,
    bytes     INTEGER NOT NULL,
    sealed    BLOB NOT NULL,
    PRIMARY KEY (scope, owner, protocol, name)
) STRICT;

-- From here on: only at the user's party, which keeps no shares. The entries of its rows in shares are hashes.

-- Plans that wait for a user to come with a request. Times are in milliseconds since 1970.
CREATE TABLE waiting_plans (
    session   BLOB PRIMARY KEY,
    order_id  BLOB NOT NULL,
    plan      BLOB NOT NULL,
    token     TEXT NOT NULL,
    deadline  INTEGER NOT NULL
) STRICT;
CREATE INDEX waiting_plans_by_order ON waiting_plans (order_id);

-- Shares that were made for users. sealed: until it is confirmed or expires; NULL where it was given out unsealed.
CREATE TABLE deliveries (
    session       BLOB PRIMARY KEY,
    plan          BLOB NOT NULL UNIQUE,
    state         TEXT NOT NULL CHECK (state IN ('delivered', 'confirmed', 'expired')),
    -- Of all n parties' promises; it is not shown to anybody before the user confirms.
    certificate   BLOB NOT NULL,
    recipient     BLOB,
    sealed        BLOB,
    -- SHA-256 of the claim with which the user asks for it and confirms it.
    claim_hash    BLOB NOT NULL,
    expires_at    INTEGER NOT NULL,
    -- The hash of the idempotency key with which it was confirmed.
    confirmed_by  BLOB
) STRICT;
CREATE INDEX unconfirmed_deliveries ON deliveries (expires_at) WHERE state = 'delivered';

-- Numbers of requests that have come with a share, each for one order. expires_at is in seconds since 1970.
CREATE TABLE nonces (
    nonce       BLOB PRIMARY KEY,
    order_id    BLOB NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT;

-- Claims, each to the share that one order made. Nothing is ever deleted here.
CREATE TABLE share_claims (
    claim_hash  BLOB PRIMARY KEY,
    order_id    BLOB NOT NULL
) STRICT;

-- Keys that users seal their shares to. Each is sealed under the master key and deleted when its time is over. Backups leave
-- this table's rows out. Times are in seconds since 1970.
CREATE TABLE sealing_keys (
    id          BLOB PRIMARY KEY,
    sealed      BLOB NOT NULL,
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL
) STRICT;
