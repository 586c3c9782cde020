//! Where the files of releases are, for the commands that touch them.

use std::path::Path;
use std::sync::Arc;

use clap::Args;

use super::Failure;
use crate::files::{Files, UPLOAD_BYTES_MAX};

#[derive(Clone, Debug, Args)]
pub struct FilesArgs {
    /// Where the files of releases are kept: s3://bucket/prefix (credentials, region and endpoint as AWS_… variables) or
    /// file:///folder [default: the folder `files` in the data folder]
    #[arg(long, env = "KEYLEDGER_FILES_URL", value_name = "URL")]
    files_url: Option<String>,
    /// Largest file that is taken, in bytes.
    #[arg(long, env = "KEYLEDGER_UPLOAD_LIMIT", default_value_t = UPLOAD_BYTES_MAX, value_name = "BYTES")]
    upload_limit: u64,
}

impl FilesArgs {
    /// Opens the store of files.
    ///
    /// # Errors
    /// When its URL is of no known kind, or its folder can't be made.
    pub fn open(&self, data_dir: &Path) -> Result<Arc<Files>, Failure> {
        Ok(Arc::new(Files::open(self.files_url.as_deref(), &data_dir.join("files"), self.upload_limit)?))
    }
}
