//! What every store promises, run against both backends. PostgreSQL is the one of `KEYLEDGER_TEST_POSTGRES_URL`
//! (`scripts/with-postgres cargo test` starts one); each test has a database of its own.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod batches;
mod consumers;
mod log;
mod opening;
mod place;
mod rebuilding;
mod rows;
mod samples;
mod streams;

/// Runs tests of the signature `async fn(&Place)` on both backends.
macro_rules! on_both_backends {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(&crate::place::Place::sqlite()).await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(&crate::place::Place::postgres().await).await;
            })+
        }
    };
}
pub(crate) use on_both_backends;
