//! What a pass over the log has found wrong.

use serde::Serialize;

/// Damage that is told of with its position: who has to look at more of it looks at the whole log.
pub const DAMAGE_SHOWN_MAX: usize = 100;

/// One place where the log isn't what was written. Never says what stands there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// None where it is the log's head.
    pub position: Option<i64>,
    pub what: String,
}

/// The first of them, and how many events they are about.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    first: Vec<Damage>,
    events: i64,
}

impl Findings {
    pub fn add(&mut self, damage: Damage, events: i64) {
        self.events += events;
        if self.first.len() < DAMAGE_SHOWN_MAX {
            self.first.push(damage);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    pub fn len(&self) -> usize {
        self.first.len()
    }

    pub fn events(&self) -> i64 {
        self.events
    }

    /// The first of both, each position once, in their order.
    pub fn with(&self, earlier: &Self) -> Vec<Damage> {
        let mut all = self.first.clone();
        all.extend(earlier.first.iter().filter(|damage| !self.first.iter().any(|known| known.position == damage.position)).cloned());
        all.sort_by_key(|damage| damage.position);
        all.truncate(DAMAGE_SHOWN_MAX);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(positions: impl IntoIterator<Item = i64>) -> Findings {
        let mut findings = Findings::default();
        positions.into_iter().for_each(|position| findings.add(Damage { position: Some(position), what: String::new() }, 2));
        findings
    }

    #[test]
    fn what_is_shown_is_bounded_and_what_is_counted_is_not() {
        let many = findings(0..250);
        assert_eq!((many.len(), many.events()), (DAMAGE_SHOWN_MAX, 500));
        let positions = |findings: &[Damage]| findings.iter().filter_map(|damage| damage.position).collect::<Vec<_>>();
        assert_eq!(positions(&findings([7, 3]).with(&findings([1, 3, 9]))), [1, 3, 7, 9]);
        assert_eq!(many.with(&findings(100..200)).len(), DAMAGE_SHOWN_MAX);
    }
}
