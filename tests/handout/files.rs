//! The checkpoint file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use keyledger::evidence::handout::file::{CheckpointFile, FileError};

use super::log::Log;

fn names(folder: &std::path::Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn the_file_holds_the_newest_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    let (file, log) = (CheckpointFile::new(path.clone()), Log::new(50));
    for size in [1, 7, 7, 50] {
        let checkpoint = log.checkpoint(size);
        file.hand_out(&checkpoint).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), &*checkpoint.note);
    }
    assert_eq!(names(folder.path()), ["checkpoint"], "nothing else is left");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o444, 0o444, "others read it");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    file.hand_out(&Log::new(60).checkpoint(60)).await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640, "as it was set");
}

#[tokio::test]
async fn it_never_goes_back_nor_over_anything_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    let (file, log) = (CheckpointFile::new(path.clone()), Log::new(50));
    file.hand_out(&log.checkpoint(40)).await.unwrap();
    let kept = fs::read(&path).unwrap();
    let result = file.hand_out(&log.checkpoint(39)).await;
    assert!(matches!(result, Err(FileError::Larger { theirs: 40, ours: 39, .. })), "{result:?}");
    let result = file.hand_out(&log.forked_at(3).checkpoint(40)).await;
    assert!(matches!(result, Err(FileError::OtherTree)), "{result:?}");
    let result = file.hand_out(&log.clone().of_origin("other").checkpoint(50)).await;
    assert!(matches!(result, Err(FileError::OtherLedger)), "{result:?}");
    assert_eq!(fs::read(&path).unwrap(), kept);

    for other in [&b"my notes"[..], b"", &[0xff; 100], &vec![b'x'; 1_000_000]] {
        fs::write(&path, other).unwrap();
        let result = file.hand_out(&log.checkpoint(50)).await;
        assert!(matches!(result, Err(FileError::NoCheckpoint)), "{result:?}");
        assert_eq!(fs::read(&path).unwrap(), other);
    }
}

#[tokio::test]
async fn what_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = CheckpointFile::new(folder.path().join("no-such-folder").join("checkpoint"));
    let result = file.hand_out(&Log::new(1).checkpoint(1)).await;
    assert!(matches!(result, Err(FileError::Io(_))), "{result:?}");
}

/// Whoever reads while it is written finds a whole checkpoint, and they never go back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_whole_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    let (file, log) = (CheckpointFile::new(path.clone()), Log::new(60));
    file.hand_out(&log.checkpoint(1)).await.unwrap();
    let all: Vec<String> = (1..=60).map(|size| log.checkpoint(size).note.to_string()).collect();
    let reading = tokio::task::spawn_blocking(move || {
        let mut last = 0;
        while last < 59 {
            let there = fs::read_to_string(&path).unwrap();
            let at = all.iter().position(|note| *note == there).unwrap_or_else(|| panic!("no whole checkpoint: {there}"));
            assert!(at >= last);
            last = at;
        }
    });
    for size in 2..=60 {
        file.hand_out(&log.checkpoint(size)).await.unwrap();
    }
    reading.await.unwrap();
}
