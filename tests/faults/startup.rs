//! What the server refuses to start with, saying why; and what it must cope with when several start at once.

use std::path::Path;

use futures::future::join_all;

use crate::support::cluster::Cluster;
use crate::support::ledger::random_hex;
use crate::support::raw;
use crate::support::{Backend, GLOBAL, Ledger, PRODUCT, ServeOptions, both_backends, fields};

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

both_backends!(a_wrong_master_key_is_refused, a_master_key_file_that_holds_no_key_is_refused, a_short_bootstrap_key_is_refused);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_on_one_data_directory_are_refused() {
    let ledger = Ledger::new(Backend::Sqlite).await;
    let first = ledger.serve().await;
    let api = first.client();
    let product = api.new_product().await;
    let license = api.new_license(product, fields!()).await;
    let said = ledger.run(&SERVE).await.failure(1);
    assert!(said.contains("another keyledger serve is using"), "{said}");
    api.activate(&license, "a.example").await.expect(300, PRODUCT);

    // The lock is the process's: gone with it, however it ends.
    first.kill_9();
    let second = ledger.serve().await;
    second.client().verify(&license, "a.example").await.expect(200, PRODUCT);
    second.stop().await;
    ledger.serve().await.client().verify(&license, "a.example").await.expect(200, PRODUCT);
}

async fn a_wrong_master_key_is_refused(backend: Backend) {
    let ledger = Ledger::new(backend).await;
    let server = ledger.serve().await;
    let product = server.client().new_product().await;
    server.stop().await;
    let events = ledger.event_count().await;

    let right = ledger.place.master_key_file.clone().unwrap_or_else(|| ledger.place.data_dir.join("master.key"));
    let right = std::fs::read_to_string(right).expect("there is a master key file");
    let wrong_file = ledger.directory().join("wrong.key");
    std::fs::write(&wrong_file, random_hex(32)).expect("a file can be written");
    let wrong = crate::support::Place { master_key_file: Some(wrong_file.clone()), ..ledger.place.clone() };
    let said = wrong.run(&SERVE).await.failure(1);
    assert!(said.to_lowercase().contains("master key"), "{said}");
    // Neither may the command line: an API key hashed with a wrong key would never be known.
    let commands: [&[&str]; 4] = [
        &["api-key", "create", "--name", "never", "--capability", "*"],
        &["block", "add", "--identifier", "never.example"],
        &["verify"],
        &["rebuild"],
    ];
    for command in commands {
        let output = wrong.run(command).await;
        assert!(output.stdout.is_empty(), "{command:?} prints {}", output.stdout);
        let said = output.failure(1);
        assert!(said.to_lowercase().contains("master key"), "{command:?}: {said}");
    }
    assert_eq!(ledger.event_count().await, events, "what is refused leaves nothing behind");

    // With the right one, also with a line end behind it, everything is as it was.
    std::fs::write(&wrong_file, format!("{}\n", right.trim())).expect("a file can be written");
    let server = ledger.serve_at(&wrong, ServeOptions::default()).await;
    let license = server.client().new_license(product, fields!()).await;
    server.client().verify(&license, "a.example").await.expect(202, PRODUCT).expect_signed_by(product);
}

async fn a_master_key_file_that_holds_no_key_is_refused(backend: Backend) {
    let ledger = Ledger::new(backend).await;
    let file = ledger.directory().join("broken.key");
    let place = crate::support::Place { master_key_file: Some(file.clone()), ..ledger.place.clone() };
    let said = place.run(&SERVE).await.failure(1);
    assert!(said.contains("broken.key"), "a missing file is named: {said}");
    for text in ["", "not hexadecimal", &random_hex(31), &random_hex(33), &"g".repeat(64)] {
        std::fs::write(&file, text).expect("a file can be written");
        let said = place.run(&SERVE).await.failure(1);
        assert!(said.to_lowercase().contains("master key"), "{text:?}: {said}");
        assert!(text.len() < 10 || !said.contains(text), "the message must not show the key: {said}");
    }
}

async fn a_short_bootstrap_key_is_refused(backend: Backend) {
    let ledger = Ledger::new(backend).await;
    let mut command = ledger.place.command(&SERVE);
    command.env("KEYLEDGER_BOOTSTRAP_API_KEY", "fifteen-letters");
    let said = crate::support::ledger::finish(command).await.failure(1);
    assert!(said.contains("KEYLEDGER_BOOTSTRAP_API_KEY") && said.contains("16"), "{said}");
    assert!(!said.contains("fifteen-letters"), "the message must not show the key: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_without_a_master_key_file_is_refused() {
    let ledger = Ledger::new(Backend::Postgres).await;
    let place = crate::support::Place { master_key_file: None, ..ledger.place.clone() };
    let said = place.run(&SERVE).await.failure(1);
    assert!(said.contains("KEYLEDGER_MASTER_KEY_FILE"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_that_does_not_sync_is_refused() {
    for setting in ["fsync", "synchronous_commit"] {
        let cluster = Cluster::start_with(&["-c", &format!("{setting}=off")]).await;
        let ledger = Ledger::on_postgres(&cluster.url());
        let said = ledger.run(&SERVE).await.failure(1);
        assert!(said.contains(setting), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_no_ledger_is_refused_and_left_alone() {
    let ledger = Ledger::new(Backend::Sqlite).await;
    std::fs::create_dir_all(&ledger.place.data_dir).expect("a directory can be made");
    let garbage = "this is no database, and certainly not ours; ".repeat(200);
    std::fs::write(ledger.place.sqlite_file(), &garbage).expect("a file can be written");
    let untouched = || std::fs::read_to_string(ledger.place.sqlite_file()).expect("it is still there") == garbage;
    // Beside a file there must be its master key: a new one could open nothing.
    let key_file = ledger.place.data_dir.join("master.key");
    let said = ledger.run(&SERVE).await.failure(1);
    assert!(said.contains("master.key"), "{said}");
    assert!(untouched() && !key_file.exists());

    std::fs::write(&key_file, random_hex(32)).expect("a file can be written");
    let said = ledger.run(&SERVE).await.failure(1);
    assert!(said.contains("ledger.db"), "{said}");
    assert!(untouched());
}

/// The database's file as a backup has it, put back under the checkpoint that was published since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_copy_of_the_database_is_refused() {
    let ledger = Ledger::new(Backend::Sqlite).await;
    let server = ledger.serve().await;
    let api = server.client();
    let product = api.new_product().await;
    let file = ledger.place.sqlite_file();
    let backup = ledger.directory().join("backup.db");
    raw::execute(&ledger.place, &format!("VACUUM INTO '{}'", backup.display())).await.expect("a backup can be made");
    let backed_up = ledger.event_count().await;
    let license = api.new_license(product, fields!()).await;
    let last = ledger.event_count().await - 1;
    api.ledger_get(&format!("receipts/{last}")).await.expect(200);
    server.stop().await;
    let put_back = |from: &Path| {
        for name in ["ledger.db-wal", "ledger.db-shm"] {
            let _ = std::fs::remove_file(ledger.place.data_dir.join(name));
        }
        std::fs::copy(from, &file).expect("a copy can be put back");
    };
    let kept = ledger.directory().join("kept.db");
    raw::execute(&ledger.place, &format!("VACUUM INTO '{}'", kept.display())).await.expect("a backup can be made");

    put_back(&backup);
    let old_copy = "an old copy of the database was put back";
    let said = ledger.run(&SERVE).await.failure(1);
    assert!(said.contains(old_copy), "{said}");
    // Nor is anything put on top of it by what a server does before it listens, or by a dispute file's checkpoint.
    let mut command = ledger.place.command(&SERVE);
    command.env("KEYLEDGER_BOOTSTRAP_API_KEY", "another-bootstrap-key-of-an-operator");
    let said = crate::support::ledger::finish(command).await.failure(1);
    assert!(said.contains(old_copy), "{said}");
    let case = ledger.directory().join("case.zip").to_string_lossy().into_owned();
    let export = ["evidence", "export", "--license", "1", "-o", &case];
    let said = ledger.run(&export).await.failure(1);
    assert!(said.contains(old_copy) && !Path::new(&case).exists(), "{said}");
    let elsewhere = ledger.directory().join("elsewhere").to_string_lossy().into_owned();
    let checkpoint = ledger.place.data_dir.join("checkpoint");
    std::fs::rename(&checkpoint, &elsewhere).expect("there is a checkpoint file");
    let said = ledger.run(&[&export[..], &["--checkpoint-file", &elsewhere]].concat()).await.failure(1);
    assert!(said.contains(old_copy) && said.contains("elsewhere"), "{said}");
    std::fs::rename(&elsewhere, &checkpoint).expect("it can be put back");
    assert_eq!(ledger.event_count().await, backed_up, "what is refused leaves nothing behind");
    put_back(&kept);
    let server = ledger.serve().await;
    server.client().verify(&license, "a.example").await.expect(202, PRODUCT);
    server.stop().await;
    // Who means to put it back says so by taking the file away.
    put_back(&backup);
    std::fs::remove_file(ledger.place.data_dir.join("checkpoint")).expect("there is a checkpoint file");
    ledger.serve().await.client().verify(&license, "a.example").await.expect(210, GLOBAL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_use_is_refused() {
    let ledger = Ledger::new(Backend::Sqlite).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address").to_string();
    let said = ledger.run(&["serve", "--listen", &address]).await.failure(1);
    assert!(said.contains(&address), "{said}");
}

/// Empty databases, several nodes at once on each: one ledger comes out, with one key pair and one bootstrap key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_nodes_start_at_once_on_an_empty_database() {
    for _ in 0..3 {
        let ledger = Ledger::new(Backend::Postgres).await;
        let nodes: Vec<_> = (0..4).map(|number| ledger.place.another_node(&format!("node-{number}"))).collect();
        let servers = join_all(nodes.iter().map(|node| ledger.serve_at(node, ServeOptions::default()))).await;
        // Every answer is verified with the one global key that the command line prints.
        let products = join_all(servers.iter().map(|server| async {
            let answer = server.client().form("create-product", fields!(name: "A", description: "B", own_key_pair: 0)).await;
            answer.expect(750, GLOBAL).response.at("product_id").integer()
        }));
        let mut products = products.await;
        products.sort_unstable();
        products.dedup();
        assert_eq!(products.len(), servers.len(), "each product has its own number");
        let keys = ledger.run(&["api-key", "list"]).await.success();
        assert_eq!(keys.matches("bootstrap").count(), 1, "one bootstrap key: {keys}");
        ledger.expect_intact().await;
    }
}
