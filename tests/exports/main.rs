//! Events in files and tables, as DuckDB and pandas read them.

#[path = "../support/mod.rs"]
mod support;

mod documents;
mod files;
mod reader;
mod tables;
