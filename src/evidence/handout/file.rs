//! The newest checkpoint as a file: for a folder that is copied elsewhere, or of another machine.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Checkpoint;
use crate::notes::Tree;

/// Largest file that may be an earlier checkpoint: with hundreds of signatures.
const FILE_BYTES_MAX: u64 = 128 * 1024;
/// A checkpoint is there to be read by others.
const MODE: u32 = 0o644;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("the file holds a checkpoint of {theirs} events, and the ledger is at {ours}: it was put back, or another ledger writes to it")]
    Larger { theirs: u64, ours: u64, root: String },
    #[error("the file holds a checkpoint of as many events with another root: one of the two ledgers was changed")]
    OtherTree,
    #[error("the file holds a checkpoint of another ledger")]
    OtherLedger,
    #[error("the file holds something that is no checkpoint")]
    NoCheckpoint,
    #[error("the checkpoint that is to be written is none")]
    Malformed,
    #[error("an earlier attempt to write it has not ended")]
    Busy,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A file that holds the newest checkpoint.
pub struct CheckpointFile {
    path: PathBuf,
    /// A file system that hangs holds one thread and not more.
    writing: Arc<Semaphore>,
}

impl CheckpointFile {
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, writing: Arc::new(Semaphore::new(1)) }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts a checkpoint in the place of an earlier one: readers see the one or the other, whole, whatever happens.
    ///
    /// # Errors
    /// When it can't be written, or the file holds anything but an earlier checkpoint of this ledger; then it stays as it is.
    pub async fn hand_out(&self, checkpoint: &Checkpoint) -> Result<(), FileError> {
        let permit = Arc::clone(&self.writing).try_acquire_owned().map_err(|_| FileError::Busy)?;
        let (path, note) = (self.path.clone(), Arc::clone(&checkpoint.note));
        let written = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            write(&path, &note)
        });
        written.await.unwrap_or_else(|error| Err(io::Error::other(error).into()))
    }
}

fn write(path: &Path, note: &str) -> Result<(), FileError> {
    let ours = Tree::read(note).ok_or(FileError::Malformed)?;
    match read(path)? {
        None => {}
        Some(there) if there == note.as_bytes() => return Ok(()),
        Some(there) => may_follow(&there, &ours)?,
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // As it was made by whoever made it; else as the account's mask lets it be.
    let permissions = fs::metadata(path).map_or_else(|_| Permissions::from_mode(MODE), |there| there.permissions());
    let mut file = tempfile::Builder::new().prefix(".checkpoint-").permissions(permissions).tempfile_in(folder)?;
    file.write_all(note.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()?;
    Ok(())
}

/// What is there; `None` where nothing is.
fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut there = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut there)?;
    if there.len() as u64 > FILE_BYTES_MAX { Err(FileError::NoCheckpoint) } else { Ok(Some(there)) }
}

fn may_follow(there: &[u8], ours: &Tree<'_>) -> Result<(), FileError> {
    let there = std::str::from_utf8(there).ok().and_then(Tree::read).ok_or(FileError::NoCheckpoint)?;
    if there.origin != ours.origin {
        Err(FileError::OtherLedger)
    } else if there.size > ours.size {
        Err(FileError::Larger { theirs: there.size, ours: ours.size, root: there.root.to_owned() })
    } else if there.size == ours.size && there.root != ours.root {
        Err(FileError::OtherTree)
    } else {
        Ok(())
    }
}
