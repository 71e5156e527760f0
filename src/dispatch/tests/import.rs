//! Couriers from CSV.

use reqwest::Method;
use serde_json::json;

use super::server::{ADMIN_KEY, Answer, TestServer};

async fn import(server: &TestServer, file: &str) -> Answer {
    let request = server
        .request(Method::POST, "/v1/couriers/import", ADMIN_KEY)
        .header("content-type", "text/csv; charset=utf-8")
        .body(file.to_owned());
    server.send(request).await
}

#[tokio::test]
async fn a_file_creates_and_updates_and_leaves_alone_what_it_does_not_name() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    let file = "\u{feff}id,phone,vehicle,tags\r\nc-1,+356 1,van,north; early\r\n\"c-2\",,,\r\n";
    let made = import(&server, file).await.expect(200);
    assert_eq!(made.body, json!({"created": 1, "updated": 1}));
    let first = server.get("/v1/couriers/c-1").await.expect(200);
    assert_eq!(first.text("name"), "Courier c-1", "the file has no names");
    assert_eq!(first.text("vehicle"), "van");
    assert_eq!(first.body["tags"], json!(["early", "north"]));
    import(&server, "id,phone\nc-1,\n").await.expect(200);
    let first = server.get("/v1/couriers/c-1").await.expect(200);
    assert_eq!(first.body["phone"], serde_json::Value::Null);
    assert_eq!(first.text("vehicle"), "van");
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_line_is_named_and_nothing_is_changed() {
    let server = TestServer::start().await;
    for (file, says) in [
        ("", "line 1"),
        ("name\nAnn\n", "id,name,phone"),
        ("id\n", "no courier"),
        ("id,name\nc-1,Ann\nc 2,Bob\n", "line 3: an id"),
        ("id,vehicle\nc-1,bike\nc-2,rocket\n", "line 3: "),
        ("id,name\nc-1,Ann\nc-2\n", "line 3"),
        ("id,colour\nc-1,red\n", "colour"),
        ("id,tags\nc-1,\u{202e}x\n", "line 2: tags"),
    ] {
        let refused = import(&server, file).await.expect(422);
        assert!(refused.text("detail").contains(says), "{}", refused.body);
    }
    let many: String = (0..5_001).map(|n| format!("c-{n}\n")).collect();
    let refused = import(&server, &format!("id\n{many}")).await.expect(422);
    assert!(refused.text("detail").contains("5000"), "{}", refused.body);
    let json = server
        .post("/v1/couriers/import", json!({}))
        .await
        .expect(415);
    assert!(json.text("detail").contains("text/csv"));
    assert_eq!(server.get("/v1/couriers").await.body["items"], json!([]));
    server.stop().await;
}
