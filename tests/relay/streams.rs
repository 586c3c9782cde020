//! Streams that are not as the relay made them: emptied, deleted, another's, ahead of the log; and how servers let it in.

use std::process::Command;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, RetentionPolicy};

use crate::support::nats::{NatsServer, messages, opened};
use crate::support::{Backend, Client, Ledger, Running, ServeOptions, Server, eventually, raw};
use crate::{STREAM, active, caught_up, expect_whole, position, relaying};

pub async fn says(server: &Server, text: &str) {
    eventually(&format!("the log says: {text}"), || async { server.log_text().contains(text).then_some(()) }).await;
}

async fn config(nats: &NatsServer, config: Config) {
    nats.context().await.create_stream(config).await.expect("the stream can be made");
}

fn stream(subjects: &[&str]) -> Config {
    Config { name: STREAM.to_owned(), subjects: subjects.iter().map(ToString::to_string).collect(), ..Config::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_emptied_goes_on_where_it_was() {
    let nats = NatsServer::start().await;
    let on = Running::start_with(Backend::Sqlite, relaying(&nats.url())).await;
    let product = on.api.new_product().await;
    active(&on.api, product, 10).await;
    let context = nats.context().await;
    let before = caught_up(&context, &on.ledger).await;
    opened(&context, STREAM).await.purge().await.expect("it can be purged");
    active(&on.api, product, 3).await;
    let after = caught_up(&context, &on.ledger).await;
    let positions = async || messages(&context, STREAM).await.iter().map(position).collect::<Vec<_>>();
    assert_eq!(positions().await, (before..after).collect::<Vec<_>>());

    // Killed before it kept the last place, and emptied before it comes back.
    active(&on.api, product, 3).await;
    let before = caught_up(&context, &on.ledger).await;
    on.server.kill_9();
    opened(&context, STREAM).await.purge().await.expect("it can be purged");
    let server = on.ledger.serve_with(relaying(&nats.url())).await;
    active(&server.client(), product, 3).await;
    let after = caught_up(&context, &on.ledger).await;
    assert_eq!(positions().await, (before..after).collect::<Vec<_>>());

    // Deleted, it is made anew, and everything is in it.
    context.delete_stream(STREAM).await.expect("it can be deleted");
    active(&server.client(), product, 3).await;
    expect_whole(&context, &on.ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_worked_off_is_not_sent_again() {
    let nats = NatsServer::start().await;
    config(&nats, Config { retention: RetentionPolicy::WorkQueue, ..stream(&["keyledger.>"]) }).await;
    let on = Running::start_with(Backend::Sqlite, relaying(&nats.url())).await;
    let product = on.api.new_product().await;
    active(&on.api, product, 5).await;
    let context = nats.context().await;
    let before = caught_up(&context, &on.ledger).await;
    assert_eq!(worked_off(&nats, before).await, (0..before).collect::<Vec<_>>());
    on.server.stop().await;
    let server = on.ledger.serve_with(relaying(&nats.url())).await;
    active(&server.client(), product, 2).await;
    let after = caught_up(&context, &on.ledger).await;
    assert_eq!(worked_off(&nats, after - before).await, (before..after).collect::<Vec<_>>());
}

/// A message of somebody else's behind events that are worked off: when it is taken away, it is still known where the relay was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strange_message_behind_what_is_worked_off_is_counted_as_none() {
    let nats = NatsServer::start().await;
    config(&nats, Config { retention: RetentionPolicy::WorkQueue, ..stream(&["keyledger.>"]) }).await;
    let on = Running::start_with(Backend::Sqlite, relaying(&nats.url())).await;
    let product = on.api.new_product().await;
    let context = nats.context().await;
    let before = caught_up(&context, &on.ledger).await;
    let stored = "SELECT position FROM consumer WHERE name = 'nats/KEYLEDGER'";
    eventually("the place is stored", || async { (raw::number(&on.ledger.place, stored).await == before - 1).then_some(()) }).await;
    assert_eq!(worked_off(&nats, before).await, (0..before).collect::<Vec<_>>());
    context.publish("keyledger.hello", "hello".into()).await.expect("sent").await.expect("published");
    active(&on.api, product, 2).await;
    says(&on.server, "only keyledger may publish to it").await;
    // However often the relay looks meanwhile, which is every ten seconds; and another one comes.
    context.publish("keyledger.hello", "hello again".into()).await.expect("sent").await.expect("published");
    tokio::time::sleep(Duration::from_secs(12)).await;
    let stream = opened(&context, STREAM).await;
    let strange = stream.cached_info().state.last_sequence;
    assert!(stream.delete_message(strange).await.expect("it can be deleted"));
    assert!(stream.delete_message(strange - 1).await.expect("it can be deleted"));
    let events = on.ledger.event_count().await;
    assert_eq!(worked_off(&nats, events - before).await, (before..events).collect::<Vec<_>>());
    assert!(!on.server.log_text().contains("have everything relayed anew"), "{}", on.server.log_text());
}

/// A consumer as the documentation has it; the positions of the events that it got.
async fn worked_off(nats: &NatsServer, count: i64) -> Vec<i64> {
    use futures::StreamExt as _;
    let stream = opened(&nats.context().await, STREAM).await;
    let durable = async_nats::jetstream::consumer::pull::Config { durable_name: Some("billing".to_owned()), ..Default::default() };
    let consumer = stream.get_or_create_consumer("billing", durable).await.expect("a consumer");
    let mut messages = consumer.messages().await.expect("messages");
    let mut positions = Vec::new();
    while (positions.len() as i64) < count {
        let message =
            tokio::time::timeout(Duration::from_secs(20), messages.next()).await.expect("another message").expect("no end").expect("a message");
        let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id")).expect("an id").to_string();
        positions.push(id.split_once(':').expect("a position").1.parse().expect("a number"));
        message.double_ack().await.expect("it is acknowledged");
    }
    positions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_the_relays_gets_nothing() {
    let nats = NatsServer::start().await;
    let context = nats.context().await;
    config(&nats, stream(&["keyledger.>"])).await;
    context.publish("keyledger.hello", "hello".into()).await.expect("sent").await.expect("published");
    let on = Running::start_with(Backend::Sqlite, relaying(&nats.url())).await;
    on.api.new_product().await;
    says(&on.server, "is no event of a ledger: only keyledger may publish to it").await;
    assert_eq!(messages(&context, STREAM).await.len(), 1);
    // What was there first is cleared away: the events come behind it.
    opened(&context, STREAM).await.purge().await.expect("it can be purged");
    let events = on.ledger.event_count().await;
    let whole = || async {
        let messages = messages(&context, STREAM).await;
        (messages.len() as i64 == events).then_some(messages)
    };
    let relayed = eventually("all are relayed", whole).await;
    assert_eq!(relayed.iter().map(position).collect::<Vec<_>>(), (0..events).collect::<Vec<_>>());

    // Another ledger finds these.
    let other = Running::start_with(Backend::Sqlite, relaying(&nats.url())).await;
    says(&other.server, "is the relay of another ledger").await;
    // Somebody else's message among the events stops the relay, and is said.
    context.publish("keyledger.hello", "hello".into()).await.expect("sent").await.expect("published");
    on.api.new_product().await;
    eventually("the relay stops", || async { (on.server.log_text().matches("only keyledger may publish to it").count() == 2).then_some(()) }).await;
    // When it is taken away again, no event is missing: it was counted as none.
    let stream = opened(&context, STREAM).await;
    let strange = stream.cached_info().state.last_sequence;
    assert!(stream.delete_message(strange).await.expect("it can be deleted"));
    let last = on.ledger.event_count().await - 1;
    eventually("the relay goes on", || async {
        let state = opened(&context, STREAM).await.cached_info().state.clone();
        let message = opened(&context, STREAM).await.get_raw_message(state.last_sequence).await.ok()?;
        (position(&message) == last).then_some(())
    })
    .await;
    let state = opened(&context, STREAM).await.cached_info().state.clone();
    let mut relayed = Vec::new();
    for sequence in (state.first_sequence..=state.last_sequence).filter(|sequence| *sequence != strange) {
        relayed.push(position(&stream.get_raw_message(sequence).await.expect("a message")));
    }
    assert_eq!(relayed, (0..=last).collect::<Vec<_>>());
}

/// The likeliest mistake of who makes a user by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_permission_is_said() {
    let permissions = "authorization { users: [{ user: relay, password: secret, permissions: { publish: [\"$JS.API.>\"], subscribe: [\"_INBOX.>\"] } }, \
                       { user: test, password: test }] }";
    let nats = NatsServer::new("careful", crate::support::nats::free_port(), permissions);
    nats.restart();
    nats.listens().await;
    let url = format!("nats://relay:secret@127.0.0.1:{}", nats.port);
    let on = Running::start_with(Backend::Sqlite, relaying(&url)).await;
    says(&on.server, "Permissions Violation").await;
    assert!(!on.server.log_text().contains("secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ahead_of_the_log_is_no_place_to_go_on_from() {
    let nats = NatsServer::start().await;
    let ledger = Ledger::new(Backend::Sqlite).await;
    let server = ledger.serve_with(relaying(&nats.url())).await;
    let product = server.client().new_product().await;
    active(&server.client(), product, 5).await;
    let context = nats.context().await;
    caught_up(&context, &ledger).await;
    server.stop().await;
    let (data, copy) = (ledger.place.data_dir.clone(), ledger.directory().join("copy"));
    let copied = |from: &std::path::Path, to: &std::path::Path| {
        let status = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
        assert!(status.success());
    };
    copied(&data, &copy);
    let server = ledger.serve_with(relaying(&nats.url())).await;
    active(&server.client(), product, 5).await;
    let ahead = caught_up(&context, &ledger).await;
    server.stop().await;

    // The copy is put back.
    std::fs::remove_dir_all(&data).expect("it can be removed");
    copied(&copy, &data);
    let server = ledger.serve_with(relaying(&nats.url())).await;
    says(&server, "an older copy of the ledger was put back").await;
    says(&server, &format!("the stream KEYLEDGER ends with event {}", ahead - 1)).await;
    server.stop().await;
    // Grown beyond the stream's end, it is still another one.
    let server = ledger.serve_with(ServeOptions::default()).await;
    active(&server.client(), product, 20).await;
    server.stop().await;
    let server = ledger.serve_with(relaying(&nats.url())).await;
    says(&server, "is another one than the log's").await;
    assert_eq!(messages(&context, STREAM).await.len() as i64, ahead, "nothing was published");
    // Another stream has everything anew, as the message says.
    server.stop().await;
    context.delete_stream(STREAM).await.expect("it can be deleted");
    let _server = ledger.serve_with(relaying(&nats.url())).await;
    expect_whole(&context, &ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_can_not_take_the_events_is_named() {
    let nats = NatsServer::start().await;
    let context = nats.context().await;
    let ledger = Ledger::new(Backend::Sqlite).await;
    config(&nats, stream(&["keyledger.license.>"])).await;
    let server = ledger.serve_with(relaying(&nats.url())).await;
    says(&server, "none of its subjects (keyledger.license.>) takes keyledger.>").await;
    // Put right, it is relayed to.
    context.update_stream(stream(&["keyledger.>"])).await.expect("it can be changed");
    expect_whole(&context, &ledger).await;
    server.stop().await;

    let refused = async |more: &[&str], said: &str| {
        let server = ledger.serve_with(ServeOptions::args(&[&["--nats-url", &nats.url()][..], more].concat())).await;
        says(&server, said).await;
        server.stop().await;
    };
    refused(&["--nats-stream", "OTHER", "--nats-subject", "keyledger"], "the stream OTHER can't be made").await;
    refused(&["--nats-stream", "THREE", "--nats-subject", "three", "--nats-replicas", "3"], "the stream THREE can't be made").await;
    // A stream that is full and takes no more.
    let full = Config { name: "FULL".to_owned(), discard: async_nats::jetstream::stream::DiscardPolicy::New, max_messages: 2, ..stream(&["full.>"]) };
    config(&nats, full).await;
    refused(&["--nats-stream", "FULL", "--nats-subject", "full"], "the stream FULL does not take event 2").await;
    assert_eq!(messages(&context, "FULL").await.iter().map(position).collect::<Vec<_>>(), [0, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_too_large_is_not_left_out() {
    let nats = NatsServer::start_with("max_payload: 3000").await;
    let on = Running::start_with(Backend::Sqlite, relaying(&nats.url())).await;
    let product = on.api.new_product_with(crate::support::fields!(description: "x".repeat(5_000))).await;
    says(&on.server, "is too large for the NATS server").await;
    let (_, events) = on.api.feed_page("limit=1000").await;
    let large = events.iter().position(|event| event.to_string().len() > 4_000).expect("a large event") as i64;
    let relayed: Vec<i64> = messages(&nats.context().await, STREAM).await.iter().map(position).collect();
    assert_eq!(relayed, (0..large).collect::<Vec<_>>(), "all that is before it, in product {product}");
    // Said once, however often it is looked.
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    assert_eq!(on.server.log_text().matches("is too large for the NATS server").count(), 1, "{}", on.server.log_text());
}

/// A certificate of 127.0.0.1 and who vouches for it.
fn certificate(folder: &std::path::Path) {
    let openssl = |args: &str| {
        let output = Command::new("openssl").args(args.split(' ')).current_dir(folder).output().expect("openssl runs");
        assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    };
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").expect("written");
    openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority");
    openssl("req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout server.key -out server.csr -subj /CN=nats");
    openssl("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile names");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_tls_and_a_password_lets_the_relay_in() {
    let nats = NatsServer::new("secure", crate::support::nats::free_port(), "include secure.conf");
    certificate(nats.folder());
    let of = |file: &str| nats.folder().join(file).display().to_string();
    let secure = format!(
        "tls {{ cert_file: {:?}, key_file: {:?} }}\nauthorization {{ user: relay, password: \"w@rd secret\" }}",
        of("server.pem"),
        of("server.key")
    );
    std::fs::write(nats.folder().join("secure.conf"), secure).expect("written");
    nats.restart();
    nats.listens().await;
    let port = nats.port;
    let ledger = Ledger::new(Backend::Sqlite).await;
    let tls = |login: &str| format!("tls://{login}127.0.0.1:{port}");

    let strange = ledger.serve_with(relaying(&tls("relay:w%40rd%20secret@"))).await;
    says(&strange, "events can't be relayed to NATS at the moment").await;
    assert!(!strange.log_text().contains("secret") && strange.log_text().contains("certificate"), "{}", strange.log_text());
    strange.stop().await;
    let unknown = ledger.serve_with(ServeOptions::args(&["--nats-url", &tls("relay:wrong@"), "--nats-ca", &of("ca.pem")])).await;
    says(&unknown, "events can't be relayed to NATS at the moment").await;
    assert!(unknown.log_text().contains("authorization violation"), "{}", unknown.log_text());
    unknown.stop().await;

    let url = tls("relay:w%40rd%20secret@");
    let server = ledger.serve_with(ServeOptions::args(&["--nats-url", &url, "--nats-ca", &of("ca.pem")])).await;
    let api: Client = server.client();
    api.new_product().await;
    let options = async_nats::ConnectOptions::with_user_and_password("relay".into(), "w@rd secret".into());
    let client = options.add_root_certificates(nats.folder().join("ca.pem")).connect(tls("")).await.expect("a connection");
    expect_whole(&async_nats::jetstream::new(client), &ledger).await;
    assert!(!server.log_text().contains("secret"), "{}", server.log_text());
}
