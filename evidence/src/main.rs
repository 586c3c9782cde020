//! `keyledger-evidence`: the verifier alone, for who would rather not build a server to check a file.

use std::{collections::VecDeque, io, path::PathBuf, process::ExitCode};

use keyledger_evidence::{Wrong, command};

const USAGE: &str = "usage: keyledger-evidence verify FILE [--checkpoint FILE]… [--public-key FILE]… [--answer FILE]…";

fn parse(arguments: impl Iterator<Item = String>) -> Option<command::Paths> {
    let mut arguments: VecDeque<String> = arguments.collect();
    let mut paths = command::Paths::default();
    if arguments.pop_front()? != "verify" {
        return None;
    }
    while let Some(argument) = arguments.pop_front() {
        let list = match argument.as_str() {
            "--checkpoint" => &mut paths.checkpoints,
            "--public-key" => &mut paths.public_keys,
            "--answer" => &mut paths.answers,
            other if !other.starts_with('-') && paths.case.as_os_str().is_empty() => {
                paths.case = PathBuf::from(other);
                continue;
            }
            _ => return None,
        };
        list.push(PathBuf::from(arguments.pop_front()?));
    }
    (!paths.case.as_os_str().is_empty()).then_some(paths)
}

fn main() -> ExitCode {
    let result =
        parse(std::env::args().skip(1)).ok_or_else(|| Wrong(USAGE.to_owned())).and_then(|paths| command::run(&paths, &mut io::stdout().lock()));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("keyledger-evidence: {wrong}");
            ExitCode::FAILURE
        }
    }
}
