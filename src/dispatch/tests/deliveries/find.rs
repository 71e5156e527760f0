//! Lists of deliveries: what is found, and page by page.

use serde_json::json;

use super::super::server::TestServer;
use super::step;

#[tokio::test]
async fn deliveries_are_found_and_paged_newest_first() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    for n in 0..5 {
        let more = json!({"reference": format!("R-{n}"), "tags": [format!("t{}", n % 2)],
            "customer": {"name": format!("Zoe {n}")}});
        server.delivery(&format!("d-{n}"), more).await.expect(201);
    }
    server
        .post("/v1/deliveries/d-3/assign", json!({"courier_id": "c-1"}))
        .await
        .expect(200);
    step(&server, "d-4", "cancelled").await.expect(200);
    let ids = async |query: &str| {
        let page = server
            .get(&format!("/v1/deliveries?{query}"))
            .await
            .expect(200);
        let items = page.body["items"].as_array().expect("items").clone();
        let ids = items
            .iter()
            .map(|d| d["id"].as_str().expect("an id").to_owned());
        (
            ids.collect::<Vec<_>>(),
            page.body["next_cursor"].as_str().map(str::to_owned),
        )
    };
    let (first, cursor) = ids("limit=2").await;
    assert_eq!(first, ["d-4", "d-3"]);
    let (second, cursor) = ids(&format!("limit=2&cursor={}", cursor.expect("more"))).await;
    assert_eq!(second, ["d-2", "d-1"]);
    let (third, cursor) = ids(&format!("limit=2&cursor={}", cursor.expect("more"))).await;
    assert_eq!((third, cursor), (vec!["d-0".to_owned()], None));
    assert_eq!(ids("status=open").await.0, ["d-3", "d-2", "d-1", "d-0"]);
    assert_eq!(ids("status=assigned,cancelled").await.0, ["d-4", "d-3"]);
    assert_eq!(ids("courier=c-1").await.0, ["d-3"]);
    assert_eq!(ids("tag=t1").await.0, ["d-3", "d-1"]);
    assert_eq!(ids("reference=R-2").await.0, ["d-2"]);
    assert_eq!(ids("q=zoe%201").await.0, ["d-1"]);
    server.get("/v1/deliveries?status=lost").await.expect(422);
    server.stop().await;
}
