//! `keyledger release`, beside a running server.

use crate::support::releases::Upload;
use crate::support::{Backend, PRODUCT, Running, both_backends, fields};

both_backends!(a_release_goes_its_way_beside_a_running_server, what_a_release_cannot_be_is_said, a_refused_upload_leaves_no_file);

async fn a_release_goes_its_way_beside_a_running_server(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    let shown = async || {
        let answer = on.api.form("access-downloadables", fields!(license_key: license, identifier: "a.example")).await;
        answer.expect(600, PRODUCT).response.at("downloadables").items().len()
    };
    let number = on.ledger.upload(Upload { product, version: "2.1", content: b"content", file_name: "program.zip", more: &[] }).await;
    let state = async || on.ledger.releases().await.into_iter().map(|(number, state, _)| (number, state)).collect::<Vec<_>>();
    assert_eq!((shown().await, state().await), (0, vec![(number.clone(), "draft".to_owned())]));
    let run = async |command: &str| on.ledger.run(&["release", command, &number]).await;
    assert_eq!(run("publish").await.success(), format!("release {number} is published\n"));
    assert_eq!((shown().await, state().await), (1, vec![(number.clone(), "published".to_owned())]));
    run("publish").await.failure(1);
    run("unpublish").await.success();
    assert_eq!(shown().await, 0);
    run("unpublish").await.failure(1);
    run("withdraw").await.success();
    for command in ["publish", "unpublish", "withdraw"] {
        let said = run(command).await.failure(1);
        assert!(said.contains(&number), "{said}");
    }
    on.ledger.expect_intact().await;
}

async fn what_a_release_cannot_be_is_said(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await.to_string();
    let file = on.ledger.directory().join("program.zip");
    std::fs::write(&file, b"content").expect("the file can be written");
    let (file, folder) = (file.display().to_string(), on.ledger.directory().display().to_string());
    let events = on.ledger.event_count().await;
    let wrong: [&[&str]; 9] = [
        &["--release-version", "1.0", &file],
        &["--product", "999999", "--release-version", "1.0", &file],
        &["--product", &product, &file],
        &["--product", &product, "--release-version", "next", &file],
        &["--product", &product, "--release-version", " ", &file],
        &["--product", &product, "--release-version", "1.0", "--numeric-version", "-1", &file],
        &["--product", &product, "--release-version", "1.0", "--content-type", "zip", &file],
        &["--product", &product, "--release-version", "1.0", &folder],
        &["--product", &product, "--release-version", "1.0", "/no/such/file"],
    ];
    for arguments in wrong {
        let output = on.ledger.run(&[&["release", "upload"][..], arguments].concat()).await;
        let code = output.code;
        assert!(matches!(code, 1 | 2), "{arguments:?} exits with {code}");
        output.failure(code);
    }
    on.ledger.run(&["release", "publish", "999999"]).await.failure(1);
    let elsewhere = ["release", "upload", "--files-url", "ftp://files", "--product", &product, "--release-version", "1.0", &file];
    on.ledger.run(&elsewhere).await.failure(1);
    assert_eq!(on.ledger.event_count().await, events);
}

async fn a_refused_upload_leaves_no_file(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    on.ledger.release(product, "1.0", b"content").await;
    let files = || std::fs::read_dir(on.ledger.place.data_dir.join("files")).expect("the files").count();
    assert_eq!(files(), 1);
    let file = on.ledger.directory().join("large.zip");
    std::fs::write(&file, vec![7; 100_000]).expect("the file can be written");
    let (product, file) = (product.to_string(), file.display().to_string());
    let upload = async |more: &[&str]| {
        let args = [&["release", "upload", "--product", &product][..], more, &[&file]].concat();
        on.ledger.run(&args).await.failure(1)
    };
    let said = upload(&["--release-version", "1.0"]).await;
    assert!(said.contains("numeric version"), "{said}");
    let said = upload(&["--release-version", "10"]).await;
    assert!(said.contains("numeric version"), "1.0 and 10 are the same number: {said}");
    let said = upload(&["--release-version", "2.0", "--upload-limit", "99999"]).await;
    assert!(said.contains("99999"), "{said}");
    assert_eq!(files(), 1);
}
