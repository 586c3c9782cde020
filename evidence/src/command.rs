//! The `verify` command: it reads the files that it is told, prints what was checked, and ends with the first thing wrong.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{Given, Wrong, verify};

/// The longest file that is read beside the dispute file: keys, checkpoints and answers are far shorter.
const GIVEN_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The longest dispute file.
const CASE_BYTES_MAX: u64 = crate::archive::ARCHIVE_BYTES_MAX as u64;

/// The files that the command is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    pub case: PathBuf,
    pub checkpoints: Vec<PathBuf>,
    pub public_keys: Vec<PathBuf>,
    pub answers: Vec<PathBuf>,
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Wrong> {
    let failed = |error: io::Error| Wrong(format!("{} can't be read: {error}", path.display()));
    let length = fs::metadata(path).map_err(failed)?.len();
    crate::ensure(length <= bytes_max, || format!("{} is longer than {bytes_max} bytes", path.display()))?;
    fs::read(path).map_err(failed)
}

fn read_texts(paths: &[PathBuf]) -> Result<Vec<String>, Wrong> {
    let text = |path: &PathBuf| String::from_utf8(read(path, GIVEN_BYTES_MAX)?).map_err(|_| Wrong(format!("{} is not UTF-8", path.display())));
    paths.iter().map(text).collect()
}

/// Checks a dispute file and prints in words what holds.
///
/// # Errors
/// The first thing wrong.
pub fn run(paths: &Paths, out: &mut impl Write) -> Result<(), Wrong> {
    let given = Given {
        checkpoints: read_texts(&paths.checkpoints)?,
        public_keys: read_texts(&paths.public_keys)?,
        answers: paths.answers.iter().map(|path| read(path, GIVEN_BYTES_MAX)).collect::<Result<_, _>>()?,
    };
    let verdict = verify(&read(&paths.case, CASE_BYTES_MAX)?, &given);
    // What can't be printed is no fault of the file.
    for sentence in &verdict.checked {
        let _ = writeln!(out, "- {sentence}");
    }
    match verdict.wrong {
        Some(wrong) => Err(Wrong(format!("{} does not hold: {wrong}", paths.case.display()))),
        None => {
            let _ = writeln!(out, "{} holds.", paths.case.display());
            Ok(())
        }
    }
}
