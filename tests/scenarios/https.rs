//! https without a proxy, and a certificate that is renewed while the server runs.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use reqwest::{Certificate, Client, Version};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::database::Database;
use crate::support::eventually;
use crate::support::server::{ADMIN_KEY, Setup};

/// Writes a new pair; answers the certificate.
fn renew(folder: &Path) -> Certificate {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("written");
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).expect("written");
    Certificate::from_pem(made.cert.pem().as_bytes()).expect("a certificate")
}

/// Trusts this certificate alone, and knows where the server is.
fn trusting(certificate: Certificate, server: SocketAddr) -> Client {
    // Only the first call in a process counts, and all are the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder()
        .tls_certs_only([certificate])
        .resolve("localhost", server)
        .build()
        .expect("a client")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_taken_up_without_a_restart() {
    let database = Database::create().await;
    let folder = tempfile::tempdir().expect("a folder");
    let first = renew(folder.path());
    let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let setup = Setup::new(Some(&database.url))
        .set("WAYLOG__HTTP__TLS__CERT", &file("cert.pem"))
        .set("WAYLOG__HTTP__TLS__KEY", &file("key.pem"));
    let mut serving = setup
        .command(&["serve"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(serving.stdout.take().expect("piped")).lines();
    let address: SocketAddr = loop {
        let line = lines.next_line().await.expect("readable");
        let line = line.expect("the server ended before it was listening");
        if let Some((_, address)) = line.split_once("listening on https://") {
            break address.trim().parse().expect("an address");
        }
    };
    let base = format!("https://localhost:{}", address.port());
    let client = trusting(first.clone(), address);
    let sign_in = client.post(format!("{base}/v1/session"));
    let answer = sign_in.json(&json!({"key": ADMIN_KEY})).send().await;
    let answer = answer.expect("trusted");
    assert_eq!(
        (answer.status().as_u16(), answer.version()),
        (201, Version::HTTP_2)
    );
    let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
    assert!(
        header("set-cookie").contains("; Secure"),
        "{}",
        header("set-cookie")
    );
    assert!(header("strict-transport-security").starts_with("max-age="));
    let plain = Client::new()
        .get(format!("http://{address}/healthz"))
        .send();
    assert!(plain.await.is_err(), "nothing is said in the clear");

    let second = renew(folder.path());
    let ask = |certificate: Certificate| {
        // A connection that is open goes on under the old one.
        let request = trusting(certificate, address).get(format!("{base}/healthz"));
        async move { request.send().await.is_ok_and(|a| a.status().is_success()) }
    };
    eventually("the renewed certificate", || async {
        ask(second.clone()).await.then_some(())
    })
    .await;
    assert!(!ask(first).await, "the old one is offered to nobody new");

    // Half a pair: the one that fits stays.
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    std::fs::write(file("cert.pem"), other.cert.pem()).expect("written");
    assert!(ask(second.clone()).await);
    let third = renew(folder.path());
    eventually("the next certificate", || async {
        ask(third.clone()).await.then_some(())
    })
    .await;
    serving.kill().await.expect("it was running");
    database.drop_database().await;
}
