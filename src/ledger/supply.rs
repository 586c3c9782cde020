//! Commands that may need new license keys: the keys are made before the command queues, and made again where too many of
//! them turn out to be in use.

use keyledger_events::{
    generator::{KeyMaker, Random},
    values::LicenseKey,
};

use super::{Ledger, Outcome, Request, Supply, command::ExecuteError};
use crate::vault;

/// How often a command is tried. Only a generator whose keys are nearly used up, or one that is being changed, needs more than two.
const TRIES_MAX: u32 = 6;
/// From here on a generator's keys are so many that two of them being the same is no more than possible.
const VAST_SPACE: u128 = 1 << 64;
/// Most keys made for one try: they are all looked up.
const KEYS_MAX: usize = 20_000;
/// Random bytes drawn at a time.
const DRAWN: usize = 4_096;

impl Ledger {
    /// Executes a command that takes generated keys. `first` is the generator and the number of keys where both are known
    /// beforehand; else the ledger says what it needs.
    ///
    /// # Errors
    /// As [`Ledger::execute`].
    pub async fn execute_supplied(&self, mut request: Request, first: Option<(i64, i64)>) -> Result<Outcome, ExecuteError> {
        let mut needed = first;
        for attempt in 1..=TRIES_MAX {
            if let Some((generator, wanted)) = needed {
                request.command.supply_with(self.supply(generator, wanted, attempt).await?);
            }
            match self.execute(request.clone()).await {
                Err(ExecuteError::Again { generator, wanted }) => needed = Some((generator, wanted)),
                done => return done,
            }
        }
        Err(ExecuteError::Unavailable("the generator changes faster than its keys are used".to_owned()))
    }

    /// Keys for one try; `None` where there is no such generator, which the command finds out itself.
    async fn supply(&self, generator: i64, wanted: i64, attempt: u32) -> Result<Option<Supply>, ExecuteError> {
        let row = self.generator(generator).await.map_err(|error| ExecuteError::Unavailable(error.to_string()))?;
        let Some(row) = row.filter(|row| row.generator.is_active()) else { return Ok(None) };
        let Ok(maker) = row.generator.fields.rule.maker() else { return Ok(None) };
        let wanted = usize::try_from(wanted).unwrap_or_default().min(KEYS_MAX);
        let is_last = attempt == TRIES_MAX || maker.space() < wanted as u128;
        let made = tokio::task::spawn_blocking(move || make(&maker, wanted, attempt)).await;
        let keys = made.map_err(|_| ExecuteError::Unavailable("the server is stopping".to_owned()))??;
        Ok(Some(Supply { generator, sequence: row.sequence, keys, is_last }))
    }
}

/// Different keys: where the generator has few, more of them with each attempt.
fn make(maker: &KeyMaker, wanted: usize, attempt: u32) -> Result<Vec<LicenseKey>, ExecuteError> {
    let spare = if maker.space() >= VAST_SPACE { 0 } else { (wanted / 8 + 16) << attempt };
    let count = (wanted + spare).min(KEYS_MAX).min(usize::try_from(maker.space()).unwrap_or(usize::MAX));
    let mut chance = Chance::default();
    let keys = maker.make_different(count, &mut chance);
    if chance.is_broken {
        return Err(ExecuteError::Unavailable("the operating system gives no random numbers".to_owned()));
    }
    // A rule makes no key that is none: blanks and control characters are not among its characters.
    Ok(keys.iter().filter_map(|key| LicenseKey::parse(key).ok()).collect())
}

/// The operating system's randomness, drawn in blocks.
struct Chance {
    bytes: [u8; DRAWN],
    used: usize,
    is_broken: bool,
}

impl Default for Chance {
    fn default() -> Self {
        Self { bytes: [0; DRAWN], used: DRAWN, is_broken: false }
    }
}

impl Chance {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        if self.used + N > DRAWN {
            match vault::random() {
                Ok(bytes) => self.bytes = bytes,
                Err(_) => self.is_broken = true,
            }
            self.used = 0;
        }
        let mut taken = [0; N];
        taken.copy_from_slice(&self.bytes[self.used..self.used + N]);
        self.bytes[self.used..self.used + N].fill(0);
        self.used += N;
        taken
    }
}

impl Random for Chance {
    fn below(&mut self, bound: u32) -> u32 {
        // What lies beyond the last whole multiple would favour the lower numbers.
        let unbiased = u32::MAX - u32::MAX % bound;
        loop {
            let drawn = u32::from_be_bytes(self.take());
            if drawn < unbiased || self.is_broken {
                return drawn % bound;
            }
        }
    }

    fn bytes(&mut self) -> [u8; 16] {
        self.take()
    }
}

#[cfg(test)]
mod tests {
    use keyledger_events::generator::{KeyRule, Method};

    use super::*;

    #[test]
    fn so_many_different_keys_are_made_as_are_wanted() {
        let uuid = KeyRule::default().maker().unwrap();
        assert_eq!(make(&uuid, 10_000, 1).unwrap().len(), 10_000);
        let few = KeyRule { method: Method::ChunkSystem, charset: "AB".into(), number_of_chunks: 1, chunk_length: 3, ..KeyRule::default() };
        assert_eq!(make(&few.maker().unwrap(), 5, 1).unwrap().len(), 8, "all there are");
        let mut seen = [0; 3];
        let mut chance = Chance::default();
        for _ in 0..3_000 {
            seen[chance.below(3) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (800..1_200).contains(count)), "{seen:?}");
    }
}
