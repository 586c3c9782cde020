//! The log as somebody else's program follows it: `tlog_tiles` and `signed_note`, written for other logs from the same
//! specifications (C2SP tlog-checkpoint, tlog-tiles and signed-note), read our checkpoints and tiles and check our proofs.

use std::collections::BTreeSet;
use std::sync::Mutex;

use reqwest::Method;
use serde_json::{Value, json};
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{
    Checkpoint, Error, Hash, HashReader as _, Tile, TileHashReader, TileReader, check_record, check_tree, prove_record, prove_tree, record_hash,
    stored_hash_index, tree_hash,
};

use crate::support::world::fresh_key;
use crate::support::{ApiKey, Backend, Client, PRODUCT, Running, both_backends, eventually, fields};

both_backends!(every_event_is_in_the_log_that_another_program_reads, tiles_of_another_log_are_noticed);

const TILE_HEIGHT: u8 = 8;
const TILE_WIDTH: u64 = 1 << TILE_HEIGHT;

/// A follower of the log: it has an auditor's API key and the log's verifier key, and trusts nothing else.
struct Follower {
    api: Client,
    vkey: String,
    /// The paths that were asked for.
    asked: Mutex<BTreeSet<String>>,
}

/// What a checkpoint says, once its signature is checked.
#[derive(Clone, Copy)]
struct Head {
    size: u64,
    root: Hash,
}

impl Follower {
    async fn new(on: &Running) -> Follower {
        let key = on.ledger.create_api_key(&["--capability", "ledger:read", "--capability", "ledger:entries"]).await;
        let api = on.api.with_key(ApiKey::Header(key));
        eventually("the auditor's key works", || async { (api.bytes("/ledger/v1/verifier-key").await.0 == 200).then_some(()) }).await;
        // From the operator by another way, as the vendor would publish it.
        let vkey = on.ledger.run(&["evidence", "verifier-key"]).await.success().trim().to_owned();
        Follower { api, vkey, asked: Mutex::default() }
    }

    async fn fetch(&self, path: &str) -> Vec<u8> {
        self.asked.lock().expect("no test thread panicked").insert(path.to_owned());
        let (status, _, body) = self.api.bytes(&format!("/ledger/v1/{path}")).await;
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        body
    }

    fn open(&self, note: &[u8]) -> Head {
        let verifier = StandardVerifier::new(&self.vkey).expect("a verifier key");
        let known = VerifierList::new(vec![Box::new(verifier)]);
        let note = Note::from_bytes(note).expect("a signed note");
        let (verified, unverified) = note.verify(&known).expect("signed by the log");
        assert_eq!((verified.len(), unverified.len()), (1, 0));
        let checkpoint = Checkpoint::from_bytes(note.text()).expect("a checkpoint");
        assert_eq!(checkpoint.origin(), verified[0].name(), "the log's name is its key's");
        assert_eq!(checkpoint.extension(), "");
        Head { size: checkpoint.size(), root: *checkpoint.hash() }
    }

    async fn head(&self) -> Head {
        self.open(&self.fetch("checkpoint").await)
    }

    /// A bundle's events, each after its length in two bytes.
    async fn bundle(&self, tile: Tile) -> Vec<Vec<u8>> {
        let mut tile = tile;
        tile.set_is_data();
        let path = tile.path().replacen(&format!("tile/{TILE_HEIGHT}/data/"), "tile/entries/", 1);
        let bytes = self.fetch(&path).await;
        let (mut rest, mut entries) = (bytes.as_slice(), Vec::new());
        while let Some((length, behind)) = rest.split_first_chunk::<2>() {
            let (entry, behind) = behind.split_at(u16::from_be_bytes(*length).into());
            entries.push(entry.to_vec());
            rest = behind;
        }
        assert!(rest.is_empty() && entries.len() == tile.width() as usize, "{path}: {} entries", entries.len());
        entries
    }

    async fn proof(&self, path: &str) -> (Value, Vec<Hash>) {
        let answer = self.api.ledger_get(path).await.expect(200).clone();
        let hash = |text: &Value| {
            let bytes = hex::decode(text.as_str().expect("a hash is text")).expect("a hash is hexadecimal");
            Hash(bytes.try_into().expect("a hash has 32 bytes"))
        };
        let hashes = answer["hashes"].as_array().expect("hashes").iter().map(hash).collect();
        (answer, hashes)
    }
}

impl TileReader for Follower {
    fn height(&self) -> u8 {
        TILE_HEIGHT
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        // The library names the height too, which tlog-tiles leaves out: it is always 8.
        let path = |tile: &Tile| tile.path().replacen(&format!("tile/{TILE_HEIGHT}/"), "tile/", 1);
        let fetch = async || {
            let mut read = Vec::new();
            for tile in tiles {
                read.push(self.fetch(&path(tile)).await);
            }
            read
        };
        Ok(tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(fetch())))
    }

    fn save_tiles(&self, _tiles: &[Tile], _data: &[Vec<u8>]) {}
}

/// Appends events, as many as there are keys and some more, and has a checkpoint made that covers them.
async fn grow(on: &Running, product: i64, licenses: usize) {
    let keys: Vec<String> = (0..licenses).map(|_| fresh_key()).collect();
    on.api.new_licenses(product, &keys, fields!()).await;
    on.api.activate(&keys[0], "a.example").await.expect(300, PRODUCT);
    let last = on.ledger.event_count().await - 1;
    on.api.ledger_get(&format!("receipts/{last}")).await.expect(200);
}

async fn every_event_is_in_the_log_that_another_program_reads(backend: Backend) {
    let on = Running::start(backend).await;
    let follower = Follower::new(&on).await;
    let product = on.api.new_product().await;
    let mut heads = Vec::new();
    // Less than a tile; then two full ones, and with them one of the level above.
    for licenses in [30, 200, 300] {
        grow(&on, product, licenses).await;
        heads.push(follower.head().await);
    }
    let head = *heads.last().expect("a head");
    assert!(heads[0].size < TILE_WIDTH && head.size > 2 * TILE_WIDTH, "{}", head.size);

    // The tiles are those of the signed root: the library refuses others. The smaller trees' tiles are there still.
    for head in &heads {
        let reader = TileHashReader::new(head.size, head.root, &follower);
        assert_eq!(tree_hash(head.size, &reader).expect("tiles"), head.root);
    }

    // Every event is what its hash says, and is in the log where it says it is.
    let reader = TileHashReader::new(head.size, head.root, &follower);
    let mut position = 0;
    for tile in Tile::new_tiles(TILE_HEIGHT, 0, head.size).into_iter().filter(|tile| tile.level() == 0) {
        for entry in follower.bundle(tile).await {
            let event: Value = serde_json::from_slice(&entry).expect("an event is JSON");
            assert_eq!((&event["position"], &event["format"]), (&json!(position), &json!("keyledger/1")));
            let hash = record_hash(&entry);
            assert_eq!(reader.read_hashes(&[stored_hash_index(0, position)]).expect("tiles")[0], hash, "event {position}");
            let (said, proof) = follower.proof(&format!("proofs/inclusion?position={position}&size={}", head.size)).await;
            assert_eq!((&said["leaf_hash"], &said["size"]), (&json!(hex::encode(hash.0)), &json!(head.size)));
            check_record(&proof, head.size, head.root, position, hash).unwrap_or_else(|error| panic!("event {position}: {error}"));
            position += 1;
        }
    }
    assert_eq!(position, head.size);
    for path in ["tile/0/000", "tile/0/001", "tile/1/000.p/2"] {
        assert!(follower.asked.lock().expect("no test thread panicked").contains(path), "{path} was not needed");
    }

    // What the library makes of the tiles is what the server gives.
    for (position, size) in [(0, head.size), (head.size - 1, head.size), (255, head.size), (256, heads[2].size), (heads[0].size - 1, heads[0].size)] {
        let at = heads.iter().find(|head| head.size == size).expect("one of the heads");
        let ours = follower.proof(&format!("proofs/inclusion?position={position}&size={size}")).await.1;
        assert_eq!(ours, prove_record(size, position, &TileHashReader::new(at.size, at.root, &follower)).expect("tiles"));
    }
    for (index, newer) in heads.iter().enumerate() {
        for older in &heads[..=index] {
            let ours = follower.proof(&format!("proofs/consistency?from={}&to={}", older.size, newer.size)).await.1;
            check_tree(&ours, newer.size, newer.root, older.size, older.root).expect("one is the beginning of the other");
            assert_eq!(ours, prove_tree(newer.size, older.size, &reader).expect("tiles"));
        }
    }
    // All checkpoints that were ever made, two by two, and not only those of this test.
    let made = on.api.history("checkpoints", 2).await;
    let made: Vec<Head> = made.iter().map(|made| follower.open(made["note"].as_str().expect("a note").as_bytes())).collect();
    assert!(made.len() >= heads.len());
    for pair in made.windows(2) {
        let proof = follower.proof(&format!("proofs/consistency?from={}&to={}", pair[0].size, pair[1].size)).await.1;
        check_tree(&proof, pair[1].size, pair[1].root, pair[0].size, pair[0].root).expect("one is the beginning of the other");
    }
    on.ledger.expect_intact().await;
}

/// That the follower sees anything at all: another root, another proof and another log's key don't pass.
async fn tiles_of_another_log_are_noticed(backend: Backend) {
    let (on, other) = (Running::start(backend).await, Running::start(backend).await);
    let (follower, mut stranger) = (Follower::new(&on).await, Follower::new(&other).await);
    for on in [&on, &other] {
        let product = on.api.new_product().await;
        grow(on, product, 20).await;
    }
    let (head, foreign) = (follower.head().await, stranger.head().await);
    let reader = TileHashReader::new(head.size, foreign.root, &follower);
    assert!(matches!(reader.read_hashes(&[0]), Err(Error::InconsistentTile)));
    let (_, mut proof) = follower.proof(&format!("proofs/inclusion?position=3&size={}", head.size)).await;
    let leaf = TileHashReader::new(head.size, head.root, &follower).read_hashes(&[stored_hash_index(0, 3)]).expect("tiles")[0];
    check_record(&proof, head.size, head.root, 3, leaf).expect("it is in the log");
    assert!(check_record(&proof, head.size, head.root, 4, leaf).is_err());
    proof[1].0[0] ^= 1;
    assert!(check_record(&proof, head.size, head.root, 3, leaf).is_err());

    let note = follower.fetch("checkpoint").await;
    stranger.vkey = other.ledger.run(&["evidence", "verifier-key"]).await.success().trim().to_owned();
    assert_ne!(stranger.vkey, follower.vkey);
    let known = VerifierList::new(vec![Box::new(StandardVerifier::new(&stranger.vkey).expect("a verifier key"))]);
    assert!(Note::from_bytes(&note).expect("a note").verify(&known).is_err(), "another log's key");
    // Nobody without a key is shown any of it.
    let nobody = on.api.with_key(ApiKey::Missing);
    nobody.admin_answer(nobody.request(Method::GET, "/ledger/v1/checkpoint")).await.expect_problem(401, "invalid-api-key");
}
