//! Who may call what: API keys (100 to 103) and the block list (150).

use crate::support::{ApiKey, Backend, Client, GLOBAL, Ledger, PRODUCT, ROUTES, Running, ServeOptions, both_backends, eventually, fields};

both_backends!(
    an_unknown_key_is_refused_on_every_route,
    a_key_may_do_what_its_capabilities_say_and_nothing_else,
    the_checks_of_a_key_come_in_their_order,
    an_expired_key_is_an_inactive_key,
    a_key_may_be_bound_to_addresses,
    only_a_trusted_proxy_names_the_request,
    a_blocked_address_is_refused_on_every_route,
    a_blocked_identifier_is_refused_wherever_it_is_given,
);

/// Trusts the test itself as a proxy, so that each request can say where it comes from.
fn behind_a_proxy() -> ServeOptions {
    ServeOptions::args(&["--trusted-proxy", "127.0.0.0/8"])
}

fn from(api: &Client, address: &str) -> Client {
    api.with_header("x-forwarded-for", address)
}

async fn an_unknown_key_is_refused_on_every_route(backend: Backend) {
    let on = Running::start(backend).await;
    let events = on.ledger.event_count().await;
    for route in ROUTES {
        for key in [ApiKey::Missing, ApiKey::Header("wrong".to_string()), ApiKey::Parameter("wrong".to_string())] {
            let answer = on.api.with_key(key).call(route, fields!(license_key: "a", identifier: "b", name: "c")).await;
            answer.expect(100, GLOBAL).expect_members(&[]);
        }
    }
    assert_eq!(on.ledger.event_count().await, events);
}

async fn a_key_may_do_what_its_capabilities_say_and_nothing_else(backend: Backend) {
    let on = Running::start(backend).await;
    let activate_only = on.caller(&["--capability", "activate"]).await;
    let verify_only = on.caller(&["--capability", "verify"]).await;
    for route in ROUTES {
        let caller = if route == "activate" { &verify_only } else { &activate_only };
        caller.call(route, fields!()).await.expect(102, GLOBAL).expect_members(&[]);
    }
    // One key of each capability at a time, so that a name that stands for two operations is found.
    for pair in ROUTES.chunks(2) {
        let capabilities: Vec<&str> = pair.iter().flat_map(|route| ["--capability", route]).collect();
        let caller = on.caller(&capabilities).await;
        for route in ROUTES {
            let code = caller.call(route, fields!()).await.code();
            assert_eq!(code != 102, pair.contains(&route), "{route} answers {code} to a key for {pair:?}");
        }
    }
    let all = on.caller(&["--capability", "*"]).await;
    for route in ROUTES {
        let code = all.call(route, fields!()).await.code();
        assert!(!(100..=103).contains(&code), "{route} answers {code} to a key for everything");
    }
}

/// A disabled key made with these arguments.
async fn disabled(on: &Running, name: &str, args: &[&str]) -> Client {
    let key = on.ledger.create_named_api_key(name, args).await;
    let number = on.ledger.api_key_number(name).await;
    on.ledger.run(&["api-key", "disable", &number]).await.success();
    let caller = on.api.with_key(ApiKey::Header(key));
    eventually("a disabled key is inactive", || async { (caller.form("verify", fields!()).await.code() == 101).then_some(()) }).await;
    caller
}

async fn the_checks_of_a_key_come_in_their_order(backend: Backend) {
    let on = Running::start(backend).await;
    let elsewhere = ["--allow-ip", "192.0.2.0/24"];
    let wrong_in_everything = disabled(&on, "wrong in everything", &[&["--capability", "activate"][..], &elsewhere].concat()).await;
    wrong_in_everything.form("verify", fields!()).await.expect(101, GLOBAL).expect_members(&[]);
    let wrong_address = on.caller(&[&["--capability", "activate"][..], &elsewhere].concat()).await;
    wrong_address.form("verify", fields!()).await.expect(103, GLOBAL).expect_members(&[]);
    wrong_address.form("activate", fields!()).await.expect(103, GLOBAL);
    let wrong_capability = on.caller(&["--capability", "activate", "--allow-ip", "127.0.0.1/32"]).await;
    wrong_capability.form("verify", fields!()).await.expect(102, GLOBAL);
    wrong_capability.form("activate", fields!()).await.expect(210, GLOBAL);

    // The block list comes after the key, and before everything that the operation itself checks.
    block(&on.ledger, &["--identifier", "blocked.example"]).await;
    let blocked = || fields!(identifier: "blocked.example");
    eventually("the block is known", || async { (on.api.form("verify", blocked()).await.code() == 150).then_some(()) }).await;
    on.api.with_key(ApiKey::Missing).form("verify", blocked()).await.expect(100, GLOBAL);
    wrong_in_everything.form("verify", blocked()).await.expect(101, GLOBAL);
    wrong_address.form("verify", blocked()).await.expect(103, GLOBAL);
    wrong_capability.form("verify", blocked()).await.expect(102, GLOBAL);
}

async fn an_expired_key_is_an_inactive_key(backend: Backend) {
    let on = Running::start(backend).await;
    let now = std::time::UNIX_EPOCH.elapsed().expect("the clock stands after 1970").as_secs().cast_signed();
    let soon = jiff::Timestamp::from_second(now + 4).expect("a time of our age").to_string();
    let caller = on.caller(&["--capability", "*", "--expires-at", &soon]).await;
    let answer = eventually("the key expires", || async {
        let answer = caller.form("verify", fields!()).await;
        assert!(matches!(answer.code(), 210 | 101), "{}", answer.response);
        (answer.code() == 101).then_some(answer)
    })
    .await;
    answer.expect(101, GLOBAL);
    assert!(answer.response.at("timestamp").integer() >= now + 4, "not before its time");
    let later = on.caller(&["--capability", "*", "--expires-at", "2099-12-31T23:59:59Z"]).await;
    later.form("verify", fields!()).await.expect(210, GLOBAL);
}

async fn a_key_may_be_bound_to_addresses(backend: Backend) {
    let on = Running::start_with(backend, behind_a_proxy()).await;
    let bound = on.caller(&["--capability", "*", "--allow-ip", "192.0.2.0/24", "--allow-ip", "2001:db8::/32"]).await;
    for address in ["192.0.2.0", "192.0.2.255", "2001:db8::1", "2001:0DB8:ffff::", "::ffff:192.0.2.7"] {
        from(&bound, address).form("verify", fields!()).await.expect(210, GLOBAL);
    }
    for address in ["192.0.3.1", "2001:db9::1", "::1", "10.0.0.1", "not an address", ""] {
        from(&bound, address).form("verify", fields!()).await.expect(103, GLOBAL);
    }
    // The client is the last address that no trusted proxy has added: what stands before it, anybody can write.
    from(&bound, "192.0.2.1, 10.0.0.1").form("verify", fields!()).await.expect(103, GLOBAL);
    from(&bound, "10.0.0.1, 192.0.2.1").form("verify", fields!()).await.expect(210, GLOBAL);
    from(&bound, "10.0.0.1, 192.0.2.1, 127.0.0.2").form("verify", fields!()).await.expect(210, GLOBAL);
    from(&from(&bound, "192.0.2.1"), "10.0.0.1").form("verify", fields!()).await.expect(103, GLOBAL);

    // Without a trusted proxy the header says nothing.
    let on = Running::start(backend).await;
    let bound = on.caller(&["--capability", "*", "--allow-ip", "192.0.2.0/24"]).await;
    from(&bound, "192.0.2.1").form("verify", fields!()).await.expect(103, GLOBAL);
}

async fn only_a_trusted_proxy_names_the_request(backend: Backend) {
    const GIVEN: &str = "0190a5c0-0000-7000-8000-000000000001";
    for (options, believed) in [(behind_a_proxy(), true), (ServeOptions::args(&[]), false)] {
        let on = Running::start_with(backend, options).await;
        let named = on.api.with_header("x-request-id", GIVEN);
        for answer in [named.form("verify", fields!()).await, named.get("no-such-route", fields!()).await] {
            assert_eq!(answer.headers["x-request-id"] == GIVEN, believed, "{:?}", answer.headers);
        }
    }
}

async fn block(ledger: &Ledger, what: &[&str]) {
    ledger.run(&[&["block", "add"][..], what].concat()).await.success();
}

async fn a_blocked_address_is_refused_on_every_route(backend: Backend) {
    let on = Running::start_with(backend, behind_a_proxy()).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    block(&on.ledger, &["--ip", "198.51.100.0/24"]).await;
    block(&on.ledger, &["--ip", "2001:db8:bad::7"]).await;
    for address in ["198.51.100.9", "2001:db8:bad::7"] {
        let blocked = from(&on.api, address);
        eventually("the block is known", || async { (blocked.verify(&license, "a.example").await.code() == 150).then_some(()) }).await;
        for route in ROUTES {
            let everything = fields!(license_key: license, identifier: "a.example", product_id: product, name: "A");
            blocked.call(route, everything).await.expect(150, GLOBAL).expect_members(&[]);
        }
    }
    for address in ["198.51.101.9", "2001:db8:bad::8", "127.0.0.1"] {
        from(&on.api, address).verify(&license, "a.example").await.expect(200, PRODUCT);
    }
    on.ledger.expect_intact().await;
}

async fn a_blocked_identifier_is_refused_wherever_it_is_given(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    on.api.activate(&license, "bad.example").await.expect(300, PRODUCT);
    block(&on.ledger, &["--identifier", "bad.example"]).await;
    eventually("the block is known", || async { (on.api.verify(&license, "bad.example").await.code() == 150).then_some(()) }).await;

    let routes = ["verify", "activate", "deactivate", "get-license-key-details", "assign-and-activate-license-key"];
    let meta = ["create-license-key-meta", "update-license-key-meta", "delete-license-key-meta"];
    for route in routes.iter().chain(&meta) {
        let request = fields!(license_key: license, identifier: "bad.example", key: "colour", value: "blue");
        on.api.form(route, request).await.expect(150, GLOBAL);
        // Also when the license is unknown: the block list comes first.
        on.api.form(route, fields!(license_key: "no such key", identifier: "bad.example")).await.expect(150, GLOBAL);
    }
    on.api.activate(&license, "very.bad.example").await.expect(300, PRODUCT);
    on.api.verify(&license, "bad.exampl").await.expect(202, PRODUCT);

    on.ledger.run(&["block", "remove", "--identifier", "bad.example"]).await.success();
    eventually("the block is gone", || async { (on.api.verify(&license, "bad.example").await.code() == 200).then_some(()) }).await;
    on.ledger.expect_intact().await;
}
