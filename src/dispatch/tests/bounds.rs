//! What is at a bound is taken, what is beyond it is refused by name, and changes nothing.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::server::{ADMIN_KEY, TestServer};

/// A field's last good values and its first bad ones.
struct Bound {
    /// As a JSON pointer into the body.
    field: &'static str,
    good: Vec<Value>,
    bad: Vec<Value>,
}

fn bound(field: &'static str, good: Vec<Value>, bad: Vec<Value>) -> Bound {
    Bound { field, good, bad }
}

fn long(n: usize) -> Value {
    "x".repeat(n).into()
}

/// A text of up to `most` characters, as people write it.
fn text(field: &'static str, most: usize) -> Bound {
    let good = vec![
        json!("x"),
        long(most),
        "é".repeat(most).into(),
        json!("two\nlines"),
    ];
    let bad = vec![
        json!(""),
        json!("   "),
        long(most + 1),
        json!("a\u{0}"),
        json!("a\u{1b}[31m"),
        json!("a\u{202e}b"),
        json!("a\u{200b}b"),
        json!("a\r\nb"),
        json!(7),
        json!(["x"]),
    ];
    Bound { field, good, bad }
}

/// A caller's own id.
fn id(field: &'static str) -> Bound {
    let good = vec![json!("a"), long(64), json!("A-z_0.9:b")];
    let bad = vec![
        json!(""),
        long(65),
        json!("a b"),
        json!("a/b"),
        json!("../a"),
        json!("a\n"),
        json!("a\r\nSet-Cookie: x=y"),
        json!("a\u{0}"),
        // Look-alikes: Cyrillic, full width, an accent of its own, a space that nobody sees.
        json!("\u{0441}-1"),
        json!("\u{ff43}-1"),
        json!("c\u{301}-1"),
        json!("c-1\u{200b}"),
        json!(17),
        json!({}),
    ];
    Bound { field, good, bad }
}

fn tags() -> Bound {
    let many = |n: usize| -> Value { (0..n).map(|n| n.to_string()).collect() };
    bound(
        "/tags",
        vec![json!([]), many(20), json!([long(40)])],
        vec![many(21), json!([long(41)]), json!([""]), json!("x")],
    )
}

fn position(lat: &'static str, lon: &'static str) -> [Bound; 2] {
    [
        bound(
            lat,
            vec![json!(90), json!(-90), json!(0)],
            vec![json!(90.000_1), json!(-91), json!("35.9")],
        ),
        bound(
            lon,
            vec![json!(180), json!(-180)],
            vec![json!(180.000_1), json!(-181), json!(true)],
        ),
    ]
}

/// Sends each value; the good ones are taken, the bad ones are refused.
async fn hold(server: &TestServer, method: Method, path: &str, base: &Value, bounds: Vec<Bound>) {
    for Bound { field, good, bad } in bounds {
        let mut number = 0;
        let mut send = async |value: &Value| {
            let mut body = base.clone();
            // Fields that are not in the plain body are added.
            let (parent, name) = field.rsplit_once('/').expect("a pointer");
            body.pointer_mut(parent).expect("there")[name] = value.clone();
            number += 1;
            if field != "/id" && body.get("id").is_some() {
                body["id"] = format!("{}-{number}", field.replace('/', ".")).into();
            }
            let request = server.request(method.clone(), path, ADMIN_KEY).json(&body);
            server.send(request).await
        };
        for value in &good {
            let answer = send(value).await;
            let taken = (200..300).contains(&answer.status);
            assert!(taken, "{path} {field} = {value}: {}", answer.body);
        }
        let before = kept(server).await;
        for value in &bad {
            let answer = send(value).await;
            // JSON that cannot be what it should be is now and then not even read; and what is wrong
            // in itself may be refused for where things stand.
            let refused = matches!(answer.status, 400 | 409 | 422);
            assert!(refused, "{path} {field} = {value}: {}", answer.body);
            assert!(!answer.text("detail").is_empty());
        }
        assert_eq!(kept(server).await, before, "{path} {field}");
    }
}

/// How much of everything there is.
async fn kept(server: &TestServer) -> Vec<i64> {
    const COUNT: &str = "select array[(select count(*) from dispatch.courier), \
        (select count(*) from dispatch.device), (select count(*) from dispatch.delivery), \
        (select count(*) from dispatch.tracking_link), (select count(*) from dispatch.geofence), \
        (select count(*) from dispatch.api_key), (select count(*) from dispatch.account), \
        (select count(*) from dispatch.audit), (select count(*) from public.event), \
        (select coalesce(sum(version), 0)::bigint from dispatch.delivery)]";
    sqlx::query_scalar(COUNT)
        .fetch_one(&server.database.pool)
        .await
        .expect("counted")
}

#[tokio::test]
async fn fields_of_couriers_and_phones_are_bounded() {
    let server = TestServer::start().await;
    let courier = || {
        vec![
            text("/name", 200),
            text("/phone", 40),
            tags(),
            bound(
                "/vehicle",
                vec![json!("bike"), json!("foot"), Value::Null],
                vec![json!("rocket"), json!("Bike"), json!(1)],
            ),
            bound("/on_duty", vec![json!(false)], vec![json!("no"), json!(0)]),
        ]
    };
    let base = json!({"id": "c"});
    let mut created = courier();
    created.push(id("/id"));
    hold(&server, Method::POST, "/v1/couriers", &base, created).await;
    server.courier("c-1").await;
    let path = "/v1/couriers/c-1";
    hold(&server, Method::PUT, path, &json!({}), courier()).await;
    hold(&server, Method::PATCH, path, &json!({}), courier()).await;
    let device = vec![
        text("/label", 200),
        bound(
            "/speed_unit",
            vec![json!("kn"), json!("mps"), json!("kmh")],
            vec![json!("mph"), json!("")],
        ),
        bound("/more", vec![], vec![json!(1)]),
    ];
    let path = "/v1/couriers/c-1/devices";
    hold(&server, Method::POST, path, &json!({}), device).await;
    server.stop().await;
}

#[tokio::test]
async fn fields_of_deliveries_are_bounded() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    let base = json!({
        "id": "d", "pickup": {"lat": 35.9, "lon": 14.5}, "dropoff": {"lat": 35.9, "lon": 14.5},
        "customer": {}, "window": {"from": "2026-11-22T10:00:00Z", "to": "2026-11-22T11:00:00Z"},
    });
    let mut bounds = vec![
        id("/id"),
        text("/pickup/label", 200),
        text("/dropoff/label", 200),
        text("/reference", 200),
        text("/note", 2_000),
        text("/customer/name", 200),
        text("/customer/phone", 40),
        text("/customer/email", 254),
        text("/customer/locale", 35),
        tags(),
        bound(
            "/sequence",
            vec![json!(i32::MAX), json!(i32::MIN)],
            vec![json!(2_147_483_648_i64), json!(0.5), json!("1")],
        ),
        bound(
            "/window/to",
            vec![json!("2026-11-22T10:00:00Z"), json!("2027-11-23T10:00:00Z")],
            vec![
                json!("2026-11-22T09:59:59.999Z"),
                json!("2027-11-23T10:00:00.001Z"),
                json!("tomorrow"),
                json!(1),
            ],
        ),
        bound(
            "/courier_id",
            vec![json!("c-1"), Value::Null],
            vec![json!("nobody"), json!("c 1"), json!("\u{0441}-1")],
        ),
        bound("/link", vec![json!(true)], vec![json!("yes"), json!(1)]),
    ];
    bounds.extend(position("/pickup/lat", "/pickup/lon"));
    bounds.extend(position("/dropoff/lat", "/dropoff/lon"));
    hold(&server, Method::POST, "/v1/deliveries", &base, bounds).await;

    server.delivery("d-1", json!({})).await.expect(201);
    let assign = vec![
        bound(
            "/courier_id",
            vec![json!("c-1")],
            vec![json!("nobody"), json!("c/1")],
        ),
        bound("/sequence", vec![json!(i32::MAX)], vec![json!(1e10)]),
        bound("/more", vec![], vec![json!(1)]),
    ];
    let base = json!({"courier_id": "c-1"});
    hold(
        &server,
        Method::POST,
        "/v1/deliveries/d-1/assign",
        &base,
        assign,
    )
    .await;
    let status = vec![
        bound(
            "/status",
            vec![json!("picked_up")],
            vec![json!("stolen"), json!("Picked_up"), json!("picked_up ")],
        ),
        bound(
            "/at",
            vec![],
            vec![json!("yesterday"), json!("2026-13-01T00:00:00Z")],
        ),
        bound(
            "/reason",
            vec![],
            vec![long(501), json!("a\u{0}"), json!("")],
        ),
    ];
    let base = json!({"status": "arrived"});
    hold(
        &server,
        Method::POST,
        "/v1/deliveries/d-1/status",
        &base,
        status,
    )
    .await;
    let last = json!({"status": "failed", "reason": long(500)});
    server
        .post("/v1/deliveries/d-1/status", last)
        .await
        .expect(200);
    server.stop().await;
}

#[tokio::test]
async fn fields_of_geofences_keys_and_users_are_bounded() {
    let server = TestServer::start().await;
    let base =
        json!({"id": "g", "name": "G", "circle": {"lat": 35.9, "lon": 14.5, "radius_m": 50}});
    let mut bounds = vec![
        id("/id"),
        text("/name", 200),
        bound(
            "/dwell_s",
            vec![json!(1), json!(604_800)],
            vec![json!(0), json!(604_801), json!(-1)],
        ),
        bound(
            "/circle/radius_m",
            vec![json!(1)],
            vec![json!(0), json!(-5), json!(1e12)],
        ),
        bound(
            "/events",
            vec![json!(["exit"])],
            vec![json!([]), json!(["jump"]), json!("enter")],
        ),
    ];
    bounds.extend(position("/circle/lat", "/circle/lon"));
    hold(&server, Method::POST, "/v1/geofences", &base, bounds).await;

    let role = || {
        bound(
            "/role",
            vec![json!("analyst"), json!("admin")],
            vec![json!("king"), json!("Admin"), Value::Null],
        )
    };
    let base = json!({"role": "analyst"});
    let bounds = vec![
        role(),
        text("/name", 200),
        bound("/more", vec![], vec![json!(1)]),
    ];
    hold(&server, Method::POST, "/v1/api-keys", &base, bounds).await;

    let user = |name: &str| json!({"username": name, "password": "long enough", "role": "analyst"});
    let short = bound(
        "/password",
        vec![],
        vec![
            json!("too short"),
            "x".repeat(257).into(),
            json!(1_234_567_890),
        ],
    );
    hold(
        &server,
        Method::POST,
        "/v1/users",
        &user("ann"),
        vec![short],
    )
    .await;
    let names = bound(
        "/username",
        vec![json!("Ann.B_c@d-e"), long(64)],
        vec![
            json!(""),
            long(65),
            json!("a b"),
            json!("\u{0430}nn"),
            json!("ann\u{0}"),
            json!("ann\n"),
        ],
    );
    hold(
        &server,
        Method::POST,
        "/v1/users",
        &user("ann"),
        vec![names],
    )
    .await;
    for (n, password) in ["0123456789".to_owned(), "é".repeat(128)]
        .into_iter()
        .enumerate()
    {
        let mut body = user(&format!("user-{n}"));
        body["password"] = password.into();
        server.post("/v1/users", body).await.expect(201);
    }
    server.stop().await;
}

#[tokio::test]
async fn queries_headers_and_bodies_are_bounded() {
    let server = TestServer::start().await;
    for query in [
        "/v1/couriers?q=%00",
        "/v1/couriers?tag=%00",
        "/v1/deliveries?q=%00",
        "/v1/deliveries?reference=a%00b",
        "/v1/audit?subject=%00",
        "/v1/couriers?limit=501",
        "/v1/couriers?limit=-1",
        "/v1/couriers?cursor=%7B%7D",
        // {"a":1} and "\u0000", as no cursor of this list is.
        "/v1/couriers?cursor=eyJhIjoxfQ",
        "/v1/couriers?cursor=Ilx1MDAwMCI",
        "/v1/deliveries?cursor=WzkyMjMzNzIwMzY4NTQ3NzU4MDcsIngiXQ",
    ] {
        let answer = server.get(query).await;
        assert_eq!(answer.status, 422, "{query}: {}", answer.body);
    }
    // A name that no user can have neither fails nor is remembered.
    let body = json!({"username": "x".repeat(100_000), "password": "long enough"});
    let request = server.request(Method::POST, "/v1/session", "").json(&body);
    server.send(request).await.expect(401);
    let body = json!({"username": "a\u{0}", "password": "long enough"});
    let request = server.request(Method::POST, "/v1/session", "").json(&body);
    server.send(request).await.expect(422);
    let keyed = |key: &str| {
        let request = server.request(Method::POST, "/v1/couriers", ADMIN_KEY);
        request
            .header("idempotency-key", key)
            .json(&json!({"id": "c-1"}))
    };
    server.send(keyed(&"k".repeat(256))).await.expect(400);
    server.send(keyed(&"k".repeat(255))).await.expect(201);
    let bulk = json!({"deliveries": [], "more": "x".repeat(9 << 20)});
    server.post("/v1/deliveries/bulk", bulk).await.expect(413);
    server.stop().await;
}

/// Says something over a plain connection, as no client library would.
async fn raw(server: &TestServer, request: &str) -> String {
    let address = server.url.trim_start_matches("http://");
    let mut socket = tokio::net::TcpStream::connect(address)
        .await
        .expect("connected");
    socket.write_all(request.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.expect("read");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn nobody_walks_out_of_the_folders_that_are_served() {
    let server = TestServer::start().await;
    for path in [
        "/../../etc/passwd",
        "/assets/../../../../../../etc/passwd",
        "/assets/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/assets/%2e%2e/%2e%2e/Cargo.toml",
        "/assets//etc/passwd",
        "/basemap/../Cargo.toml",
        "/basemap/..%2fCargo.toml",
        "/basemap/%2fetc%2fpasswd",
        "/%2fetc%2fpasswd",
        "/..%5c..%5cetc%5cpasswd",
        "/assets/%00",
        "/index.html%00.js",
    ] {
        let answer = raw(
            &server,
            &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        )
        .await;
        let status = answer.split(' ').nth(1).expect("a status");
        assert!(["404", "400"].contains(&status), "{path}: {answer}");
        assert!(
            !answer.contains("root:") && !answer.contains("[package]"),
            "{path}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn nobody_adds_a_header_to_an_answer_or_to_another_request() {
    let server = TestServer::start().await;
    let head = "Host: x\r\nConnection: close\r\n";
    for (request, statuses) in [
        (
            format!(
                "GET /v1/couriers/a%0d%0aSet-Cookie:%20x=y HTTP/1.1\r\n{head}Authorization: Bearer {ADMIN_KEY}\r\n\r\n"
            ),
            vec!["404"],
        ),
        (
            format!("GET /demo%0d%0aLocation:%20evil HTTP/1.1\r\n{head}\r\n"),
            vec!["404"],
        ),
        (
            format!("GET / HTTP/1.1\r\n{head}X-Bad: a\rSet-Cookie: x=y\r\n\r\n"),
            vec!["400"],
        ),
        (
            format!("GET / HTTP/1.1\r\n{head}X Bad: a\r\n\r\n"),
            vec!["400"],
        ),
        // Two lengths: one request or two?
        (
            format!(
                "POST /v1/session HTTP/1.1\r\n{head}Content-Length: 2\r\nContent-Length: 30\r\n\r\n{{}}"
            ),
            vec!["400"],
        ),
        (
            format!(
                "POST /v1/session HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: x\r\n\r\n"
            ),
            vec!["400"],
        ),
        // Whoever claims to be a proxy is not believed, and breaks nothing.
        (
            format!(
                "GET /v1/couriers HTTP/1.1\r\n{head}X-Forwarded-For: a, b,,\"\r\nForwarded: for=\"\r\n\r\n"
            ),
            vec!["401"],
        ),
    ] {
        let answer = raw(&server, &request).await;
        let status = answer.split(' ').nth(1).expect("a status");
        assert!(statuses.contains(&status), "{request}: {answer}");
        let head = answer
            .split("\r\n\r\n")
            .next()
            .unwrap_or_default()
            .to_lowercase();
        assert!(
            !head.contains("set-cookie") && !head.contains("\r\nlocation:"),
            "{answer}"
        );
    }
    server.stop().await;
}
