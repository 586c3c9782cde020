//! What makes the ledger evidence: that it is what it was can be shown to people who don't trust whoever runs it.

pub mod handout;
