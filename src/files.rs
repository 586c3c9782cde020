//! The files of releases, in a folder or an S3 bucket: streamed in and out, hashed on the way in. What must not enter: HTTP, and
//! rules about who may have which file.

use std::ops::Range;
use std::path::Path as FilePath;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream::BoxStream};
use object_store::{
    ClientOptions, GetOptions, GetRange, ObjectStore, ObjectStoreExt, WriteMultipart, aws::AmazonS3Builder, local::LocalFileSystem, path::Path,
    prefix::PrefixStore,
};
use uuid::Uuid;

use crate::clock::new_id;

/// Largest file unless the configuration says otherwise: 2 GiB.
pub const UPLOAD_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// What is sent to the store at once. S3 takes 10,000 such parts, so 80 GiB.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts on their way at the same time, of one upload: so many times [`PART_BYTES`] it needs in memory.
const PARTS_MAX: usize = 2;
/// Uploads at the same time: each may hold three parts.
const UPLOADS_MAX: usize = 8;
/// How long neither side of a transfer may move. It is over then; a connection may have to end before.
pub const STALLED_AFTER: Duration = Duration::from_secs(60);
/// How long the store may take to take a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("--files-url {0:?} is neither s3://bucket/prefix nor file:///folder")]
    Url(String),
    #[error("the file is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the upload ended early or stands still")]
    Broken,
    #[error("too many uploads are in progress")]
    Busy,
    #[error("the file is not in the store")]
    Missing,
    #[error("the store of files is not available: {0}")]
    Unavailable(String),
}

impl From<object_store::Error> for FilesError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::Missing,
            error => Self::Unavailable(error.to_string()),
        }
    }
}

/// A file that was taken in whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    pub object: Uuid,
    pub size: i64,
    /// In hexadecimal.
    pub sha256: String,
}

pub struct Files {
    /// Or why there is none.
    store: Result<Arc<dyn ObjectStore>, String>,
    upload_max: u64,
    uploads: tokio::sync::Semaphore,
}

impl Files {
    /// The store at a URL; without one, the folder, which is missed only when it is needed.
    ///
    /// # Errors
    /// When the URL is of no known kind, or its folder can't be made.
    pub fn open(url: Option<&str>, folder: &FilePath, upload_max: u64) -> Result<Self, FilesError> {
        let store = match url.map(str::trim).filter(|url| !url.is_empty()) {
            None => local(folder).map_err(|error| {
                tracing::warn!(%error, "there is nowhere to keep the files of releases; --files-url names a place");
                error.to_string()
            }),
            Some(url) => match url.split_once("://") {
                Some(("file", path)) if path.starts_with('/') => Ok(local(FilePath::new(path))?),
                Some(("s3", place)) => Ok(s3(url, place)?),
                _ => return Err(FilesError::Url(url.to_owned())),
            },
        };
        Ok(Self { store, upload_max, uploads: tokio::sync::Semaphore::new(UPLOADS_MAX) })
    }

    fn store(&self) -> Result<&Arc<dyn ObjectStore>, FilesError> {
        self.store.as_ref().map_err(|reason| FilesError::Unavailable(reason.clone()))
    }

    /// The largest file that is taken.
    #[must_use]
    pub fn upload_max(&self) -> u64 {
        self.upload_max
    }

    /// Takes in a file. What was taken of one that breaks off is thrown away.
    ///
    /// # Errors
    /// When it is too large, ends early, or the store fails.
    pub async fn put<E>(&self, content: impl Stream<Item = Result<Bytes, E>>) -> Result<StoredFile, FilesError> {
        let _permit = self.uploads.try_acquire().map_err(|_| FilesError::Busy)?;
        let object = new_id();
        let upload = self.store()?.put_multipart(&path(object)).await?;
        let mut upload = Unfinished(Some(WriteMultipart::new_with_chunk_size(upload, PART_BYTES)));
        let sent = self.send(&mut upload, content).await;
        let writer = upload.0.take();
        match sent {
            Ok((size, sha256)) => {
                if let Some(writer) = writer {
                    writer.finish().await?;
                }
                Ok(StoredFile { object, size, sha256 })
            }
            Err(error) => {
                // Before anyone is told: a command line ends with its answer, and takes its tasks along.
                if let Some(writer) = writer {
                    abort(writer).await;
                }
                Err(error)
            }
        }
    }

    /// Sends the content, whose size and hash it gives.
    async fn send<E>(&self, upload: &mut Unfinished, content: impl Stream<Item = Result<Bytes, E>>) -> Result<(i64, String), FilesError> {
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut size: u64 = 0;
        let mut content = pin!(content);
        loop {
            let piece = match tokio::time::timeout(STALLED_AFTER, content.next()).await {
                Ok(Some(Ok(piece))) => piece,
                Ok(None) => break,
                Ok(Some(Err(_))) | Err(_) => return Err(FilesError::Broken),
            };
            size += piece.len() as u64;
            if size > self.upload_max {
                return Err(FilesError::TooLarge(self.upload_max));
            }
            hash.update(&piece);
            if let Some(writer) = &mut upload.0 {
                writer.wait_for_capacity(PARTS_MAX).await?;
                writer.put(piece);
            }
        }
        let size = i64::try_from(size).map_err(|_| FilesError::TooLarge(self.upload_max))?;
        Ok((size, hex::encode(hash.finish())))
    }

    /// Whether a file of this size is there.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn has(&self, object: Uuid, size: i64) -> Result<bool, FilesError> {
        match self.store()?.head(&path(object)).await.map_err(FilesError::from) {
            Ok(meta) => Ok(i64::try_from(meta.size).is_ok_and(|found| found == size)),
            Err(FilesError::Missing) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The bytes of a part of a file; the part must not be empty.
    ///
    /// # Errors
    /// When the file is not there, or the store fails.
    pub async fn read(&self, object: Uuid, part: Range<u64>) -> Result<BoxStream<'static, Result<Bytes, FilesError>>, FilesError> {
        let options = GetOptions { range: Some(GetRange::Bounded(part)), ..GetOptions::default() };
        let found = self.store()?.get_opts(&path(object), options).await?;
        Ok(found.into_stream().map(|piece| piece.map_err(FilesError::from)).boxed())
    }

    /// Deletes a file. One that isn't there is as good as deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete(&self, object: Uuid) -> Result<(), FilesError> {
        match self.store()?.delete(&path(object)).await.map_err(FilesError::from) {
            Ok(()) | Err(FilesError::Missing) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn path(object: Uuid) -> Path {
    Path::from(object.hyphenated().to_string())
}

fn local(folder: &FilePath) -> Result<Arc<dyn ObjectStore>, FilesError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| FilesError::Unavailable(format!("cannot make the folder {}: {error}", folder.display())))?;
    // An acknowledged upload must survive what the ledger survives.
    Ok(Arc::new(LocalFileSystem::new_with_prefix(folder)?.with_fsync(true)))
}

/// Credentials, region and endpoint come from the variables that every S3 client reads.
fn s3(url: &str, place: &str) -> Result<Arc<dyn ObjectStore>, FilesError> {
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.is_empty() {
        return Err(FilesError::Url(url.to_owned()));
    }
    // A download lasts as long as its client takes; whether it moves is watched where it is sent.
    let mut options = ClientOptions::new().with_timeout_disabled().with_read_timeout_disabled().with_connect_timeout(CONNECT_WITHIN);
    let allow_http = std::env::var("AWS_ALLOW_HTTP").is_ok_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
    options = options.with_allow_http(allow_http);
    let store = AmazonS3Builder::from_env().with_bucket_name(bucket).with_client_options(options).build()?;
    let prefix = prefix.trim_matches('/');
    Ok(if prefix.is_empty() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, prefix)) })
}

async fn abort(writer: WriteMultipart) {
    if let Err(error) = writer.abort().await {
        tracing::warn!(%error, "a broken upload could not be thrown away");
    }
}

/// Drops what was sent of an upload whose sender is gone.
struct Unfinished(Option<WriteMultipart>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(writer) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(abort(writer));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;

    use super::*;

    fn pieces(texts: &[&'static str]) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::iter(texts.iter().map(|text| Ok(Bytes::from_static(text.as_bytes()))).collect::<Vec<_>>())
    }

    fn count(folder: &FilePath) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[tokio::test]
    async fn a_file_is_taken_in_hashed_read_in_parts_and_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(None, folder.path(), 10).unwrap();
        let stored = files.put(pieces(&["ab", "", "c"])).await.unwrap();
        assert_eq!((stored.size, stored.sha256.as_str()), (3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
        assert!(files.has(stored.object, 3).await.unwrap());
        assert!(!files.has(stored.object, 4).await.unwrap(), "a file of another size is not the one");
        let part: Vec<Bytes> = files.read(stored.object, 1..3).await.unwrap().map(Result::unwrap).collect().await;
        assert_eq!(part.concat(), b"bc");
        files.delete(stored.object).await.unwrap();
        files.delete(stored.object).await.unwrap();
        assert!(!files.has(stored.object, 3).await.unwrap());
        assert!(matches!(files.read(stored.object, 0..3).await.err(), Some(FilesError::Missing)));
    }

    #[tokio::test]
    async fn nothing_is_left_of_an_upload_that_fails() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(None, folder.path(), 3).unwrap();
        assert!(matches!(files.put(pieces(&["ab", "cd"])).await, Err(FilesError::TooLarge(3))));
        let broken = stream::iter([Ok(Bytes::from_static(b"ab")), Err("gone")]);
        assert!(matches!(files.put(broken).await, Err(FilesError::Broken)));
        assert_eq!(count(folder.path()), 0, "before the caller is told");
        let mut gone = Box::pin(files.put(stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"ab"))]).chain(stream::pending())));
        assert!(futures::poll!(&mut gone).is_pending());
        drop(gone);
        for _ in 0..2_000 {
            if count(folder.path()) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} files are left", count(folder.path()));
    }

    #[test]
    fn only_known_urls_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let open = |url: &str| Files::open(Some(url), folder.path(), 1);
        for bad in ["http://files.example", "s3://", "s3:///prefix", "file://relative", "files", "gs://bucket"] {
            assert!(matches!(open(bad), Err(FilesError::Url(_))), "{bad}");
        }
        assert!(open("").is_ok());
        assert!(open(&format!("file://{}", folder.path().join("in/here").display())).is_ok());
    }
}
