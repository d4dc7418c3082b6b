//! The contract of every cache, as tests. An adapter's tests are `conformance::suite!(async { … a fresh cache … })`.

use std::time::Duration;

use super::{Cache, MAX_VALUE_BYTES};

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(100);

macro_rules! suite {
    ($fresh:expr) => {
        $crate::cache::conformance::tests! {
            $fresh;
            a_value_is_there_until_its_time_is_over,
            a_later_value_replaces_an_earlier_one,
            a_removed_value_is_gone,
            counting_starts_anew_when_its_time_is_over,
            callers_that_count_at_once_get_different_numbers,
            a_value_that_is_too_long_is_not_kept,
        }
    };
}
pub(crate) use suite;

macro_rules! tests {
    ($fresh:expr; $($name:ident,)*) => {$(
        #[tokio::test]
        async fn $name() {
            let cache = $fresh.await;
            $crate::cache::conformance::$name(&cache).await;
        }
    )*};
}
pub(crate) use tests;

pub(crate) async fn a_value_is_there_until_its_time_is_over(cache: &dyn Cache) {
    assert_eq!(cache.get("a").await, Ok(None));
    cache.set("a", vec![1, 0, 255], LONG).await.unwrap();
    cache.set("b", vec![2], SHORT).await.unwrap();
    assert_eq!(cache.get("b").await, Ok(Some(vec![2])));
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(cache.get("a").await, Ok(Some(vec![1, 0, 255])));
    assert_eq!(cache.get("b").await, Ok(None));
}

pub(crate) async fn a_later_value_replaces_an_earlier_one(cache: &dyn Cache) {
    cache.set("a", vec![1], SHORT).await.unwrap();
    cache.set("a", vec![2], LONG).await.unwrap();
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(cache.get("a").await, Ok(Some(vec![2])));
}

pub(crate) async fn a_removed_value_is_gone(cache: &dyn Cache) {
    cache.set("a", vec![1], LONG).await.unwrap();
    cache.remove("a").await.unwrap();
    cache.remove("never there").await.unwrap();
    assert_eq!(cache.get("a").await, Ok(None));
}

pub(crate) async fn counting_starts_anew_when_its_time_is_over(cache: &dyn Cache) {
    let short = SHORT * 3;
    assert_eq!(cache.count("c", short).await, Ok(1));
    tokio::time::sleep(SHORT * 2).await;
    // A later count does not prolong the time.
    assert_eq!(cache.count("c", short).await, Ok(2));
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(cache.count("c", short).await, Ok(1));
}

pub(crate) async fn callers_that_count_at_once_get_different_numbers(cache: &dyn Cache) {
    let (a, b, c) = tokio::join!(cache.count("c", LONG), cache.count("c", LONG), cache.count("c", LONG));
    let mut counts = [a.unwrap(), b.unwrap(), c.unwrap()];
    counts.sort_unstable();
    assert_eq!(counts, [1, 2, 3]);
}

pub(crate) async fn a_value_that_is_too_long_is_not_kept(cache: &dyn Cache) {
    cache.set("a", vec![1], LONG).await.unwrap();
    cache.set("a", vec![0; MAX_VALUE_BYTES + 1], LONG).await.unwrap();
    assert_eq!(cache.get("a").await, Ok(None));
    cache.set("a", vec![0; MAX_VALUE_BYTES], LONG).await.unwrap();
    assert_eq!(cache.get("a").await.map(|v| v.map(|v| v.len())), Ok(Some(MAX_VALUE_BYTES)));
}
