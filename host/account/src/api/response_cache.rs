//! Cached answers of completed requests: the fast path of idempotency keys.
//!
//! A process that can write to the cache could otherwise answer in the account service's place, with an account of
//! its own. Every answer therefore carries a tag (HMAC-SHA256, RFC 2104) under a key that only account services have.
//! An answer with a wrong tag counts as absent: the store is asked.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use hmac::{Hmac, Mac};
use quorate_backends::cache::Cache;
use quorate_control_store::{IdempotentRequest, RowKeys};
use quorate_core::UnixMillis;
use sha2::{Digest, Sha256};

/// How long an answer stays in the cache: callers that retry do so soon.
const ANSWER_RETENTION: Duration = Duration::from_secs(600);

/// The length of a tag, in bytes.
const TAG_BYTES: usize = 32;

/// The length of the time until which an answer counts, and of its status.
const EXPIRY_BYTES: usize = 8;
const STATUS_BYTES: usize = 2;

/// The cached answers.
pub(super) struct ResponseCache {
    cache: Arc<dyn Cache>,
    key: Hmac<Sha256>,
}

impl ResponseCache {
    /// Wraps a cache. The MAC key is derived from the row key, which all account services of a deployment share.
    pub(super) fn new(cache: Arc<dyn Cache>, keys: &RowKeys) -> Self {
        let key = keys.derive(b"quorate 1 cached answers");
        // HMAC takes keys of any length.
        #[allow(clippy::expect_used)]
        let key = Hmac::new_from_slice(key.as_slice()).expect("a key of 32 bytes");
        Self { cache, key }
    }

    /// The answer to a completed request, if the cache has one with a valid tag.
    pub(super) async fn get(
        &self,
        request: &IdempotentRequest,
        now: UnixMillis,
    ) -> Option<(StatusCode, String)> {
        let stored = self.cache.get(&name(request)).await.ok()??;
        let (tag, rest) = stored.split_at_checked(TAG_BYTES)?;
        // The tag is over the request too: another one under the same key is for the store to refuse.
        self.mac(request, rest).verify_slice(tag).ok()?;
        let (expires, rest) = rest.split_at_checked(EXPIRY_BYTES)?;
        let (status, answer) = rest.split_at_checked(STATUS_BYTES)?;
        // Whoever can write to the cache could put an old answer back.
        if UnixMillis(u64::from_be_bytes(expires.try_into().ok()?)) < now {
            return None;
        }
        let status = StatusCode::from_u16(u16::from_be_bytes(status.try_into().ok()?)).ok()?;
        Some((status, String::from_utf8(answer.to_vec()).ok()?))
    }

    /// Stores an answer, if the cache is available.
    pub(super) async fn set(&self, request: &IdempotentRequest, status: u16, answer: &str, now: UnixMillis) {
        let expires = (now + ANSWER_RETENTION).0.to_be_bytes();
        let content = [expires.as_slice(), &status.to_be_bytes(), answer.as_bytes()].concat();
        let tag = self.mac(request, &content).finalize().into_bytes();
        let value = [tag.as_slice(), &content].concat();
        // Without it the store is asked.
        let _ = self.cache.set(&name(request), value, ANSWER_RETENTION).await;
    }

    fn mac(&self, request: &IdempotentRequest, content: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.key.clone();
        mac.update(name(request).as_bytes());
        mac.update(&request.request);
        mac.update(content);
        mac
    }
}

/// The name of a request in the cache; always of the same length.
fn name(request: &IdempotentRequest) -> String {
    let mut hash = Sha256::new();
    for part in [&request.key.caller, &request.key.name] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    format!("answer.{}", hex::encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use quorate_backends::cache::MemoryCache;
    use quorate_control_store::IdempotencyKey;
    use zeroize::Zeroizing;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn keys(secret: u8) -> RowKeys {
        RowKeys::new(Zeroizing::new([secret; 32]), vec![])
    }

    fn run(name: &str, request: u8) -> IdempotentRequest {
        let key = IdempotencyKey { caller: "caller".into(), name: name.into() };
        IdempotentRequest { key, request: [request; 32], ids: vec![], started: NOW, owner: [0; 16] }
    }

    #[tokio::test]
    async fn only_answers_that_an_account_service_gave_to_this_request_are_believed() {
        let cache: Arc<dyn Cache> = Arc::new(MemoryCache::default());
        let (ours, theirs) = (keys(1), keys(2));
        let answers = ResponseCache::new(Arc::clone(&cache), &ours);
        let (first, other) = (run("first", 1), run("other", 1));
        assert_eq!(answers.get(&first, NOW).await, None);
        answers.set(&first, 201, "answer", NOW).await;
        let answer = Some((StatusCode::CREATED, "answer".to_owned()));
        assert_eq!(answers.get(&first, NOW).await, answer);
        assert_eq!(
            ResponseCache::new(Arc::clone(&cache), &ours).get(&first, NOW).await,
            answer,
            "of another replica"
        );
        assert_eq!(answers.get(&run("first", 2), NOW).await, None, "an answer to another request");
        assert_eq!(ResponseCache::new(Arc::clone(&cache), &theirs).get(&first, NOW).await, None);
        let late = NOW + ANSWER_RETENTION + Duration::from_millis(1);
        assert_eq!(answers.get(&first, NOW + ANSWER_RETENTION).await, answer);
        assert_eq!(answers.get(&first, late).await, None, "an old answer that was put back");
        // Put in the place of another, changed in any bit, or made up.
        let stored = cache.get(&name(&first)).await.unwrap().unwrap();
        let mut forged = vec![(name(&other), stored.clone())];
        for bit in 0..stored.len() * 8 {
            let mut flipped = stored.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            forged.push((name(&first), flipped));
        }
        forged.push((name(&first), vec![0; TAG_BYTES - 1]));
        for (name, value) in forged {
            cache.set(&name, value, ANSWER_RETENTION).await.unwrap();
            let run = if name == super::name(&first) { &first } else { &other };
            assert_eq!(answers.get(run, NOW).await, None, "a forged answer was believed");
        }
    }

    /// Golden bytes: replicas of two versions read each other's answers.
    #[tokio::test]
    async fn cached_answers_keep_their_form() {
        let cache: Arc<dyn Cache> = Arc::new(MemoryCache::default());
        let answers = ResponseCache::new(Arc::clone(&cache), &keys(1));
        answers.set(&run("first", 1), 201, "answer", NOW).await;
        assert_eq!(name(&run("first", 1)), GOLDEN_NAME);
        let stored = cache.get(GOLDEN_NAME).await.unwrap().unwrap();
        assert_eq!(hex::encode(stored), GOLDEN_ANSWER);
    }

    const GOLDEN_NAME: &str = "answer.c65454ba709243ff544c0bde598ed34b1b1a252bf1d315e43bb2c8f7626fb1fd";
    const GOLDEN_ANSWER: &str =
        "639ec6aa014ea933a4113daba5f26d238b2f95259173cdf5ef87b6fad0a5a3a4000001a3186577c000c9616e73776572";
}
