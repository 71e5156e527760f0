//! Who asks too often is told to wait, and holds up nobody else.

use reqwest::Method;

use super::server::{ADMIN_KEY, TestServer};

#[tokio::test]
async fn a_key_and_a_phone_are_bounded_each_for_itself() {
    let server = TestServer::start_with(|config| {
        config.limits.key_per_s = 2;
        config.limits.device_per_s = 1;
    })
    .await;
    let phone = server.courier("c-1").await;
    let key = server.key("dispatcher").await;
    let ask = async |bearer: &str, path: &str| {
        let answer = server.send(server.request(Method::GET, path, bearer)).await;
        if answer.status == 429 {
            let wait: u32 = answer.header("retry-after").parse().expect("seconds");
            assert!(wait >= 1 && answer.text("detail").contains("wait"));
        }
        answer.status
    };
    let mut seen = Vec::new();
    for _ in 0..40 {
        seen.push(ask(&key, "/v1/couriers").await);
    }
    assert!(seen[..20].iter().all(|status| *status == 200), "{seen:?}");
    assert!(seen.contains(&429), "{seen:?}");
    assert_eq!(ask(ADMIN_KEY, "/v1/couriers").await, 200, "another key");
    let mut seen = Vec::new();
    for _ in 0..30 {
        seen.push(ask(&phone, "/v1/me/deliveries").await);
    }
    assert!(
        seen[..10].iter().all(|status| *status == 200) && seen.contains(&429),
        "{seen:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn guesses_are_slowed_down_and_right_keys_from_the_same_address_are_not() {
    let server = TestServer::start_with(|config| config.limits.wrong_per_s = 1).await;
    let mut seen = Vec::new();
    for n in 0..30 {
        let request = server.request(Method::GET, "/v1/couriers", &format!("wlk_guess{n}"));
        seen.push(server.send(request).await.status);
    }
    assert!(
        seen[..10].iter().all(|status| *status == 401) && seen.contains(&429),
        "{seen:?}"
    );
    server.get("/v1/couriers").await.expect(200);
    server.stop().await;
}
