//! What every store must do: the same tests for every adapter.

pub(crate) mod control;
pub(crate) mod party;

/// The tests of a suite, each with a fresh store from an async expression that gives `(store, guard)`.
macro_rules! tests {
    ($suite:ident, $fresh:expr; $($name:ident,)*) => {$(
        #[tokio::test]
        async fn $name() {
            let (store, _guard) = $fresh.await;
            $crate::store::conformance::$suite::$name(&store).await;
        }
    )*};
}
pub(crate) use tests;
