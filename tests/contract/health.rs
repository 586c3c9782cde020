//! What watches the service: health and metrics, unsigned and without an API key.

use crate::support::{Backend, Running, both_backends, fields};

both_backends!(the_service_says_how_it_is);

async fn the_service_says_how_it_is(backend: Backend) {
    let on = Running::start(backend).await;
    for path in ["/health/live", "/health/ready"] {
        let (status, body) = on.api.plain(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok_and(|json| json.is_object()), "{path}: {body}");
    }
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    on.api.activate(&license, "a.example").await;
    on.api.verify(&license, "a.example").await;

    let (status, text) = on.api.plain("/metrics").await;
    assert_eq!(status, 200);
    let counted = |route: &str, code: &str| {
        let route_and_code = |line: &&str| line.contains(&format!("/{route}\"")) && line.contains(&format!("\"{code}\""));
        text.lines().filter(|line| !line.starts_with('#')).any(|line| route_and_code(&line))
    };
    assert!(counted("verify", "200"), "requests by route and code: {text}");
    assert!(counted("activate", "300"), "requests by route and code: {text}");
    for series in ["batch", "queue", "signature", "head"] {
        assert!(text.lines().any(|line| !line.starts_with('#') && line.contains(series)), "no {series} in {text}");
    }
    assert!(!text.contains(&license) && !text.contains(&on.ledger.bootstrap_key), "no keys in the metrics");
    let head = text.lines().find(|line| !line.starts_with('#') && line.contains("head")).expect("a series of the head position");
    let position = head.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number");
    let events = on.ledger.event_count().await;
    assert!((position - events as f64).abs() <= 1.0, "the head is at {position} with {events} events");
}
