//! Follows the feed of a ledger and prints what happens; goes on where it was.

use std::{env, fs};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (url, key) = (env::var("KEYLEDGER_URL")?, env::var("KEYLEDGER_API_KEY")?);
    let mut after = fs::read_to_string("position").unwrap_or_else(|_| "-1".to_owned());
    loop {
        let page = format!("{url}/feed/v1/events?after={after}&timeout=30000");
        let response = reqwest::Client::new().get(page).bearer_auth(&key).send().await?.error_for_status()?;
        after = response.headers()["feed-position"].to_str()?.to_owned();
        for event in response.json::<Vec<serde_json::Value>>().await? {
            println!("{} {}", event["id"].as_str().unwrap_or_default(), event["type"].as_str().unwrap_or_default());
        }
        fs::write("position", &after)?;
    }
}
