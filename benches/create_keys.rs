//! create-license-keys with ten thousand keys in one call over HTTP: from the first byte sent to the signed answer, which
//! comes when all events are durable and projected.

mod support;

use std::time::Instant;

use support::{
    Result, fill, median,
    place::{Backend, Place},
    report::{Table, Target, number, spread},
    server::Server,
};

fn main() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    for backend in Backend::available() {
        if support::is_selected(backend.name()) {
            runtime.block_on(measure(backend))?;
        }
    }
    Ok(())
}

async fn measure(backend: Backend) -> Result<()> {
    let keys: u64 = support::size("KEYLEDGER_BENCH_KEYS", fill::KEYS_PER_CALL)?;
    let place = Place::fresh(backend).await?;
    let ledger = place.address.open().await?;
    let product = fill::product(&ledger).await?;
    fill::close(ledger).await?;
    let server = Server::serve(&place.address)?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut seconds = Vec::new();
    // The first call meets a server that has done nothing yet; it counts like the others.
    for call in 0..support::rounds()? as u64 {
        let strings: Vec<String> = (call * keys..(call + 1) * keys).map(fill::license_key).collect();
        let fields = [
            ("product_id", product.to_string()),
            ("license_keys", serde_json::to_string(&strings)?),
            ("activation_limit", "3".to_owned()),
            ("validity", "365".to_owned()),
            ("status", "available".to_owned()),
        ];
        let request =
            client.post(format!("http://{}/api/v1/create-license-keys", server.address)).bearer_auth(fill::API_KEY).form(&fields).build()?;
        let started = Instant::now();
        let answer = client.execute(request).await?.text().await?;
        seconds.push(started.elapsed().as_secs_f64());
        let answer: serde_json::Value = serde_json::from_str(&answer)?;
        if answer["response"]["code"] != 900 || answer["response"]["created"] != keys {
            return Err(format!("not created: {}", answer["response"]).into());
        }
    }
    let mut table = Table::new(format!("create-license-keys, {} keys in one call over HTTP, {}", number(keys as f64), backend.name()));
    table.figure("all calls", spread(&seconds, " s"));
    table.target("one call, median", median(&seconds), " s", Target::AtMost(0.5));
    table.print();
    Ok(())
}
