//! What the benchmarks share: places for ledgers, filled ledgers, real server processes, a load generator, the tables
//! that are printed. Sizes come from the environment; `BENCHMARKS.md` lists them.
#![allow(dead_code, reason = "each benchmark uses its own part of the support")]

pub mod baseline;
pub mod fill;
pub mod health;
pub mod load;
pub mod place;
pub mod process;
pub mod report;
pub mod server;

use std::str::FromStr;

/// Whatever goes wrong ends the benchmark; a missed target doesn't.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A size from the environment, or the one that the targets are about.
pub fn size<T: FromStr>(variable: &str, default: T) -> Result<T> {
    match std::env::var(variable) {
        Ok(text) => text.replace('_', "").parse().map_err(|_| format!("{variable} must be a number, not {text:?}").into()),
        Err(_) => Ok(default),
    }
}

/// How many licenses the ledger has that verify is measured on.
pub fn licenses() -> Result<u64> {
    size("KEYLEDGER_BENCH_LICENSES", 1_000_000)
}

/// How long one round of a throughput measurement takes.
pub fn round_seconds() -> Result<f64> {
    size("KEYLEDGER_BENCH_SECONDS", 5.0)
}

/// How many rounds of each of the things compared take turns.
pub fn rounds() -> Result<usize> {
    size("KEYLEDGER_BENCH_ROUNDS", 5)
}

/// The words given after `cargo bench … --`, without options: cargo adds `--bench`.
pub fn arguments() -> Vec<String> {
    std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect()
}

/// Whether this part of a benchmark was asked for: all are unless some are named.
pub fn is_selected(part: &str) -> bool {
    let arguments = arguments();
    arguments.is_empty() || arguments.iter().any(|argument| argument.eq_ignore_ascii_case(part))
}

/// Tells how far a long preparation is; the results go to standard output.
pub fn note(text: &str) {
    eprintln!("# {text}");
}

/// The middle one, or the mean of the two in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The value below which so large a part of the values lies.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len().saturating_sub(1) as f64 * part).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}
