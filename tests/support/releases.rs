//! Releases for tests, uploaded and published on the command line like an operator does it.

use super::ledger::{Ledger, random_hex};

/// What one `release upload` says of the release it made.
pub struct Upload<'a> {
    pub product: i64,
    pub version: &'a str,
    pub content: &'a [u8],
    pub file_name: &'a str,
    pub more: &'a [&'a str],
}

impl Ledger {
    /// Uploads a file as a release and publishes it; returns the release's number.
    pub async fn release(&self, product: i64, version: &str, content: &[u8]) -> String {
        self.upload(Upload { product, version, content, file_name: "program.zip", more: &["--publish"] }).await
    }

    /// Uploads a file as a release; returns the release's number.
    pub async fn upload(&self, upload: Upload<'_>) -> String {
        let folder = self.directory().join(format!("upload-{}", random_hex(4)));
        std::fs::create_dir(&folder).expect("a folder");
        let file = folder.join(upload.file_name);
        std::fs::write(&file, upload.content).expect("the file can be written");
        let (product, file) = (upload.product.to_string(), file.display().to_string());
        let args = [&["release", "upload", "--product", &product, "--release-version", upload.version][..], upload.more, &[&file]].concat();
        let said = self.run(&args).await.success();
        let number = said.split_whitespace().find(|word| word.chars().all(|c| c.is_ascii_digit()));
        number.unwrap_or_else(|| panic!("no number in {said}")).to_string()
    }

    /// The release's number in the list, its state and its downloads, of each release.
    pub async fn releases(&self) -> Vec<(String, String, i64)> {
        let list = self.run(&["release", "list"]).await.success();
        let row = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let downloads = words[words.len() - 2].parse().expect("a count of downloads");
            (words[0].to_owned(), words[4].to_owned(), downloads)
        };
        list.lines().skip(1).map(row).collect()
    }
}
