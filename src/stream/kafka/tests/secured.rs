//! TLS, passwords and rights: what is set in `stream.kafka.properties` is passed through, and what
//! is wrong with it is named.

use super::kit::{broker, open, options, properties, read, record, refusal};
use crate::stream::kafka::KafkaOptions;
use crate::stream::{Log, Partition, SeekTo};

/// Options for the broker's listener with TLS and passwords.
fn secured(user: &str, password: &str) -> Option<KafkaOptions> {
    let broker = broker()?;
    let dir = std::env::var("WAYLOG_TEST_KAFKA_DIR").expect("WAYLOG_TEST_KAFKA_DIR is set");
    let (host, port) = broker.rsplit_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    let mut options = options(&format!("{host}:{}", port + 200));
    options.properties.extend(properties(&[
        ("security.protocol", "SASL_SSL"),
        ("ssl.ca.location", &format!("{dir}/ca.pem")),
        ("sasl.mechanisms", "PLAIN"),
        ("sasl.username", user),
        ("sasl.password", password),
    ]));
    Some(options)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_with_a_password_records_come_back() {
    let Some(options) = secured("waylog", "secret") else {
        return;
    };
    let log = open(&options).await.unwrap();
    log.append("t", Partition(0), vec![record("c", "v", 1)])
        .await
        .unwrap();
    let mut reader = log
        .reader("t", &[Partition(0)], SeekTo::Earliest)
        .await
        .unwrap();
    assert_eq!(&read(&mut reader, 1).await[0].value[..], b"v");
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_named_and_not_shown() {
    let Some(options) = secured("waylog", "hunter2") else {
        return;
    };
    let said = refusal(&options).await;
    assert!(
        said.contains("sasl.password") && !said.contains("hunter2"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_nobody_vouches_for_is_named() {
    let Some(mut options) = secured("waylog", "secret") else {
        return;
    };
    options
        .properties
        .retain(|(key, _)| key != "ssl.ca.location");
    options.open_timeout = std::time::Duration::from_secs(10);
    let said = refusal(&options).await;
    assert!(said.contains("ssl.ca.location"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_rights_is_told_which_are_missing() {
    let Some(options) = secured("guest", "secret") else {
        return;
    };
    let said = refusal(&options).await;
    assert!(
        said.contains("stream.kafka.properties") && said.contains("Create"),
        "{said}"
    );
}
