//! Rate limits by address and by API key, for interface A and the administration; off unless configured.

use crate::support::{ApiKey, Backend, GLOBAL, Running, ServeOptions, both_backends, fields};

both_backends!(an_address_is_limited, an_api_key_is_limited, nothing_is_limited_unless_configured, what_is_no_rate_is_refused_at_start);

async fn an_address_is_limited(backend: Backend) {
    let on = Running::start_with(backend, ServeOptions::args(&["--trusted-proxy", "127.0.0.0/8", "--rate-limit-ip", "3/h"])).await;
    let from = |address: &str| on.api.with_header("x-forwarded-for", address);
    let caller = from("192.0.2.1");
    for _ in 0..3 {
        caller.form("verify", fields!()).await.expect(210, GLOBAL);
    }
    let over = caller.form("verify", fields!()).await;
    over.expect_error(429);
    let wait: u64 = over.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=1_200).contains(&wait), "{wait}");
    // Whoever asks from there, whatever it is: also without a key, and of the administration.
    caller.with_key(ApiKey::Missing).form("activate", fields!()).await.expect_error(429);
    caller.get("get-all-products", fields!()).await.expect_error(429);
    caller.admin_get("products").await.expect_problem(429, "too-many-requests");
    // What watches the service is not limited, and neither is anybody else.
    assert_eq!(caller.plain("/health/live").await.0, 200);
    from("192.0.2.2").form("verify", fields!()).await.expect(210, GLOBAL);
    // A customer's IPv6 addresses count as one.
    for address in ["2001:db8::1", "2001:db8::2", "2001:db8::3"] {
        from(address).form("verify", fields!()).await.expect(210, GLOBAL);
    }
    from("2001:db8::4").form("verify", fields!()).await.expect_error(429);
    from("2001:db8:0:1::4").form("verify", fields!()).await.expect(210, GLOBAL);
    let (_, metrics) = on.api.plain("/metrics").await;
    assert!(metrics.lines().any(|line| line.starts_with("keyledger_rate_limited_total") && line.contains("address")), "{metrics}");
}

async fn an_api_key_is_limited(backend: Backend) {
    let on = Running::start_with(backend, ServeOptions::args(&["--rate-limit-key", "5/h"])).await;
    let one = on.api.clone();
    for _ in 0..4 {
        one.form("verify", fields!()).await.expect(210, GLOBAL);
    }
    one.admin_get("products").await.expect(200);
    one.form("verify", fields!()).await.expect_error(429);
    one.admin_get("products").await.expect_problem(429, "too-many-requests");
    // Another key has a count of its own, and what no key answers for is not counted.
    on.caller(&["--capability", "*"]).await.form("verify", fields!()).await.expect(210, GLOBAL);
    for _ in 0..7 {
        on.api.with_key(ApiKey::Header("wrong".to_owned())).form("verify", fields!()).await.expect(100, GLOBAL);
    }
}

async fn nothing_is_limited_unless_configured(backend: Backend) {
    let options = ServeOptions { args: Vec::new(), environment: vec![("KEYLEDGER_RATE_LIMIT_KEY".to_owned(), String::new())] };
    let on = Running::start_with(backend, options).await;
    for _ in 0..200 {
        on.api.form("verify", fields!()).await.expect(210, GLOBAL);
    }
}

async fn what_is_no_rate_is_refused_at_start(backend: Backend) {
    let ledger = crate::support::Ledger::new(backend).await;
    for (option, rate) in [("--rate-limit-key", "many"), ("--rate-limit-ip", "0/min")] {
        let said = ledger.run(&["serve", "--listen", "127.0.0.1:0", option, rate]).await.failure(1);
        assert!(said.contains(option) && said.contains("600/min"), "{said}");
    }
}
