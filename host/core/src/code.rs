//! The closed list of error codes: what a caller is told, and who must act (rule 12).

use crate::abort::AbortCode;
use crate::report::RefusedCode;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// A code. Stable: callers may depend on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as callers see it.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status that goes with it.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// A title for people.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    // The caller must act.
    /// The body is not JSON.
    MalformedJson = "malformed_json", 400, "The body is not JSON";
    /// The body's fields are not those of the request.
    InvalidBody = "invalid_body", 422, "The body has wrong fields";
    /// The body is too long.
    BodyTooLarge = "body_too_large", 413, "The body is too large";
    /// The body takes too long to arrive.
    BodyTooSlow = "body_too_slow", 408, "The body took too long to arrive";
    /// The body is not declared as JSON.
    UnsupportedMediaType = "unsupported_media_type", 415, "The content type is not application/json";
    /// The user id is empty or too long.
    InvalidUserId = "invalid_user_id", 422, "The user id is not acceptable";
    /// The message is not hex, or not 32 bytes long where a digest is required.
    InvalidMessage = "invalid_message", 422, "The message is not acceptable";
    /// No such hash function.
    UnknownHash = "unknown_hash", 422, "The hash function is unknown";
    /// No such scheme.
    UnknownScheme = "unknown_scheme", 422, "The scheme is unknown";
    /// No such protocol, or not for the scheme.
    UnknownProtocol = "unknown_protocol", 422, "The protocol is unknown";
    /// Not 2 <= t <= n <= 16, or more parties than there are.
    InvalidThreshold = "invalid_threshold", 422, "The threshold is not possible";
    /// A hardened or malformed derivation path.
    InvalidPath = "invalid_path", 422, "The derivation path is not acceptable";
    /// Not 32 bytes, or not for the account's scheme.
    InvalidMerkleRoot = "invalid_merkle_root", 422, "The merkle root is not acceptable";
    /// No items, more than an order has, or messages that are too long together.
    InvalidItems = "invalid_items", 422, "The items are not acceptable";
    /// The requested signers can't sign this order.
    InvalidSigners = "invalid_signers", 422, "The signers are not acceptable";
    /// A malformed id in the path.
    InvalidId = "invalid_id", 422, "The id is malformed";
    /// The idempotency key is empty or too long.
    InvalidIdempotencyKey = "invalid_idempotency_key", 422, "The idempotency key is not acceptable";
    /// The idempotency key was used for another request.
    IdempotencyKeyReused = "idempotency_key_reused", 409, "The idempotency key stands for another request";
    /// The run of this idempotency key goes on.
    InProgress = "in_progress", 409, "The same request is still being worked on";
    /// No key, or a wrong one.
    Unauthorized = "unauthorized", 401, "The API key is missing or wrong";
    /// The caller's address has sent too many wrong keys.
    TooManyFailedKeys = "too_many_failed_keys", 429, "Too many wrong API keys came from this address";
    /// More requests came with this key, or for this account, than a minute may have.
    TooManyRequests = "too_many_requests", 429, "Too many requests came within the minute";
    /// A party has signed with this account as often as it does in a day.
    DailyMaximum = "daily_maximum", 429, "The account has had its signatures of the day";
    /// The caller's address is not allowed.
    AddressNotAllowed = "address_not_allowed", 403, "This address may not call the API";
    /// No such account.
    AccountNotFound = "account_not_found", 404, "There is no such account";
    /// No such session.
    SessionNotFound = "session_not_found", 404, "There is no such session";
    /// No such route.
    NotFound = "not_found", 404, "There is nothing here";
    /// Another method is wanted.
    MethodNotAllowed = "method_not_allowed", 405, "The method is not allowed here";
    /// The account has no key (yet).
    AccountNotActive = "account_not_active", 409, "The account has no active key";
    /// Parties refuse each other for good.
    BlockedByBan = "blocked_by_ban", 409, "A party never works with another again on this account";
    /// A party waits for new shares.
    RefreshRequired = "refresh_required", 409, "The account's shares must be refreshed before it signs again";
    /// The account needs its user's share.
    UserShareRequired = "user_share_required", 422, "The user's share is required";
    /// The account, or the deployment, has no user's share.
    NoUserShare = "no_user_share", 422, "There is no user's share";
    /// A share is to be sealed, and the request names no recipient.
    RecipientKeyRequired = "recipient_key_required", 422, "A recipient key is required";
    /// A malformed recipient key.
    InvalidRecipientKey = "invalid_recipient_key", 422, "The recipient key is not acceptable";
    /// A user's share that does not open.
    UserShareUnreadable = "user_share_unreadable", 422, "The user's share can't be read";
    /// A user's share whose time is over.
    UserShareExpired = "user_share_expired", 422, "The user's share has expired";
    /// A user's share of another account.
    UserShareOfAnotherAccount = "user_share_of_another_account", 422, "The user's share is of another account";
    /// A user's share of another epoch.
    UserShareOfAnotherEpoch = "user_share_of_another_epoch", 409, "The user's share is of another epoch";
    /// A user's share that was given for something else.
    UserShareForAnotherMessage = "user_share_for_another_message", 422, "The user's share was given for something else";
    /// A user's share that was used before.
    UserShareReplayed = "user_share_replayed", 409, "The user's share was used before";
    /// A share that is not handed over again.
    ShareAlreadyDelivered = "share_already_delivered", 409, "The share was delivered before";
    /// A share that was confirmed before.
    ShareAlreadyConfirmed = "share_already_confirmed", 409, "The share was confirmed before";
    /// A share that was not confirmed in time.
    ShareExpired = "share_expired", 409, "The share was not confirmed in time";
    /// A share that was sealed to another key.
    RecipientDiffers = "recipient_differs", 409, "The share was sealed to another key";
    /// A user's new share has a claim, and the request names none.
    ClaimRequired = "claim_required", 422, "A claim to the user's share is required";
    /// A malformed claim, or hash of one.
    InvalidClaim = "invalid_claim", 422, "The claim is not acceptable";
    /// A claim to another share.
    WrongClaim = "wrong_claim", 403, "The claim is not the one to this share";
    /// A claim that has served for another share.
    ClaimUsed = "claim_used", 409, "The claim was used for another share";
    /// The key that a user's share was sealed to is gone.
    SealingKeyExpired = "sealing_key_expired", 422, "The key that the user's share was sealed to has expired";
    /// No t parties are left that could repair a share.
    RepairImpossible = "repair_impossible", 409, "The share can't be repaired";
    /// The operators of the other parties have not permitted the repair.
    RepairNotPermitted = "repair_not_permitted", 409, "A party's operator has not permitted the repair";
    /// A party has the share that is to be repaired.
    ShareNotLost = "share_not_lost", 409, "The party has its share";
    /// A party has no share of the account, which can be repaired.
    ShareLost = "share_lost", 409, "A party has lost its share";
    /// Another keygen, refresh or repair of the account is under way.
    Busy = "busy", 409, "Another operation on the account is under way";

    // Try again later.
    /// Too many requests are being worked on.
    Overloaded = "overloaded", 503, "The service is overloaded";
    /// Not enough parties are online.
    PartiesUnavailable = "parties_unavailable", 503, "Not enough parties are online";
    /// The parties have no active plugin in common that may be used.
    PluginUnavailable = "plugin_unavailable", 503, "The parties have no usable plugin in common";
    /// A part of the system is going down or does not answer.
    Unavailable = "unavailable", 503, "A part of the system does not answer";
    /// The deadline passed.
    DeadlinePassed = "deadline_passed", 504, "The deadline passed";

    // The operator, the publisher of a plugin, or we must act.
    /// A party broke the protocol.
    PeerFault = "peer_fault", 502, "A party broke the protocol";
    /// A party broke the protocol in a way that bars it from this account for ever.
    Banned = "banned", 502, "A party was banned from this account";
    /// The plugin misbehaved.
    PluginFault = "plugin_fault", 502, "The plugin misbehaved";
    /// The plugin made a signature that does not verify.
    BadSignature = "bad_signature", 502, "The plugin made a signature that does not verify";
    /// A party refused what the account service or the coordinator asked of it.
    Refused = "refused", 502, "The parties refused";
    /// A party can't use its share.
    ShareUnusable = "share_unusable", 500, "A party can't use its share";
    /// Clocks of the deployment are more than a minute apart.
    ClockSkew = "clock_skew", 500, "The clocks of the deployment are apart";
    /// A party or the account service is not set up for the task.
    Misconfigured = "misconfigured", 500, "The deployment is not set up for this";
    /// Our own trouble.
    Internal = "internal", 500, "Something is wrong on our side";
}

impl Code {
    /// The code of this text.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.text() == text)
    }

    /// Whether the same request may well succeed in a while.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self.status(), 503 | 504)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl From<AbortCode> for Code {
    fn from(code: AbortCode) -> Self {
        match code {
            AbortCode::Timeout => Self::DeadlinePassed,
            AbortCode::PeerFault => Self::PeerFault,
            AbortCode::Ban => Self::Banned,
            AbortCode::PeerAborted | AbortCode::Unavailable => Self::Unavailable,
            AbortCode::Share => Self::ShareUnusable,
            AbortCode::Misconfigured => Self::Misconfigured,
            AbortCode::Plugin => Self::PluginFault,
            AbortCode::Internal => Self::Internal,
            AbortCode::BadSignature => Self::BadSignature,
        }
    }
}

impl From<RefusedCode> for Code {
    fn from(code: RefusedCode) -> Self {
        match code {
            RefusedCode::NotAcceptable => Self::Refused,
            RefusedCode::Banned => Self::BlockedByBan,
            RefusedCode::Plugin => Self::PluginUnavailable,
            RefusedCode::Busy => Self::Busy,
            RefusedCode::Share => Self::ShareUnusable,
            RefusedCode::Clock => Self::ClockSkew,
            RefusedCode::NoRoom => Self::Overloaded,
            RefusedCode::Store => Self::Internal,
            // The same request finds the result; if its report is lost, a new order is signed.
            RefusedCode::OrderExhausted => Self::Unavailable,
            RefusedCode::DeadlinePassed => Self::DeadlinePassed,
            RefusedCode::RefreshRequired => Self::RefreshRequired,
            RefusedCode::DailyMaximum => Self::DailyMaximum,
            RefusedCode::ShareLost => Self::ShareLost,
            RefusedCode::RepairNotPermitted => Self::RepairNotPermitted,
            RefusedCode::ShareNotLost => Self::ShareNotLost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_found_by_their_text() {
        for &code in Code::ALL {
            assert_eq!(Code::of(code.text()), Some(code));
            assert!((400..600).contains(&code.status()), "{code}");
        }
        assert_eq!(Code::of("nonsense"), None);
    }
}
