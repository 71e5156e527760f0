//! Everything that should not be sent, and is.

use std::io::Write;

use super::*;

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_bad_fix_is_answered_with_200_and_its_reason() {
    let server = Server::start().await;
    let token = server.device("c-1");
    for (body, reason) in [
        (r#"{"fix_time":NOW,"lat":NaN,"lon":2}"#, "not a number"),
        (r#"{"fix_time":NOW,"lat":"35.9","lon":2}"#, "not a number"),
        (r#"{"fix_time":NOW,"lat":200,"lon":2}"#, "latitude"),
        (r#"{"fix_time":NOW,"lat":1,"lon":-200}"#, "longitude"),
        (r#"{"fix_time":NOW,"lon":2}"#, "missing"),
        (
            r#"{"fix_time":"1970-01-01T00:00:00Z","lat":1,"lon":2}"#,
            "2000",
        ),
        (
            r#"{"fix_time":"2100-01-01T00:00:00Z","lat":1,"lon":2}"#,
            "ahead",
        ),
        (
            r#"{"fix_time":"2020-01-01T00:00:00Z","lat":1,"lon":2}"#,
            "retention",
        ),
        (r#"{"fix_time":{"a":1},"lat":1,"lon":2}"#, "not a time"),
        (r#"{"lat":1,"lon":2}"#, "missing"),
        (r#"[7]"#, "unreadable"),
        (r#"[null]"#, "unreadable"),
    ] {
        let reply = server
            .post(&token, &body.replace("NOW", &NOW_MS.to_string()))
            .await;
        assert_eq!(reply.counts(), (0, 0, 1), "{body}");
        let told = reply.json()["quarantined"][0]["reason"].to_string();
        assert!(told.contains(reason), "{body}: {told}");
    }
    assert!(server.stored().await.is_empty());
    assert_eq!(server.quarantined().await.len(), 12);
}

#[tokio::test]
async fn a_clock_that_is_ahead_by_less_than_a_day_is_kept() {
    let server = Server::start().await;
    let token = server.device("c-1");
    let hour = 3_600_000;
    assert_eq!(
        server.post(&token, &fix(NOW_MS + 23 * hour)).await.counts(),
        (1, 0, 0)
    );
    assert_eq!(
        server.post(&token, &fix(NOW_MS + 25 * hour)).await.counts(),
        (0, 0, 1)
    );
    server.clock.advance(2 * hour);
    assert_eq!(
        server.post(&token, &fix(NOW_MS + 25 * hour)).await.counts(),
        (1, 0, 0)
    );
}

#[tokio::test]
async fn a_native_body_that_cannot_be_read_at_all_is_400_and_says_why() {
    let server = Server::start().await;
    let token = server.device("c-1");
    let deep = "[".repeat(500_000);
    for body in ["", "{", "not json", "7", "[}", "{\"fixes\":7}", &deep] {
        let reply = server.post(&token, body).await;
        assert_eq!(reply.status, 400, "{reply:?}");
        assert!(reply.head.contains("application/problem+json"));
        assert!(
            reply.json()["detail"]
                .as_str()
                .is_some_and(|d| d.contains("cannot be read"))
        );
    }
    let broken = Request::native(&token)
        .header("Content-Encoding", "gzip")
        .body("not gzip");
    assert_eq!(server.send(broken).await.status, 400);
    let unknown = Request::native(&token)
        .header("Content-Encoding", "compress")
        .body("x");
    assert_eq!(server.send(unknown).await.status, 415);
    let reply = server
        .post(&token, &fixes((0..1001).map(|i| NOW_MS + i)))
        .await;
    assert_eq!(reply.status, 413);
    assert!(server.stored().await.is_empty() && server.quarantined().await.is_empty());
}

#[tokio::test]
async fn ten_mebibytes_and_bombs_are_413_in_the_native_format() {
    let server = Server::start().await;
    let token = server.device("c-1");
    let announced = Request::native(&token).body(vec![b' '; 10 * MIB]);
    assert_eq!(server.send(announced).await.status, 413);

    let mut chunked = format!(
        "{}Transfer-Encoding: chunked\r\n\r\n",
        Request::native(&token).head
    );
    for _ in 0..160 {
        chunked.push_str("10000\r\n");
        chunked.push_str(&" ".repeat(0x10000));
        chunked.push_str("\r\n");
    }
    chunked.push_str("0\r\n\r\n");
    assert_eq!(
        exchange(server.address, chunked.as_bytes()).await.status,
        413
    );

    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..64 {
        bomb.write_all(&vec![b' '; MIB]).expect("written");
    }
    let bomb = bomb.finish().expect("finished");
    let request = Request::native(&token)
        .header("Content-Encoding", "gzip")
        .body(&bomb);
    let reply = server.send(request).await;
    assert_eq!(reply.status, 413);
    assert!(reply.head.contains("connection: close"));
    // The server is none the worse for it.
    assert_eq!(server.post(&token, &fix(NOW_MS)).await.counts(), (1, 0, 0));
}

#[tokio::test]
async fn phone_apps_get_200_for_what_cannot_be_read_and_it_is_in_quarantine() {
    let server = Server::start().await;
    let token = server.device("c-1");
    let json = |body: &str| {
        Request::new("POST", &format!("/osmand?id={token}"))
            .header("Content-Type", "application/json")
            .body(body)
    };
    let cut = format!(r#"{{"device_id":"{token}","location":{{"coords":{{"latit"#);
    let requests = [
        json("not json"),
        json(&cut),
        Request::new("POST", "/osmand")
            .header("Content-Type", "application/json")
            .body(&cut),
        json("x").header("Content-Encoding", "gzip"),
        json(&" ".repeat(10 * MIB)),
        Request::owntracks("c-1", &token).body("{"),
        Request::owntracks("c-1", &token).body(vec![b'x'; 10 * MIB]),
        Request::new("GET", &format!("/osmand?id={token}&lat=abc&lon=NaN")),
        Request::new("GET", &format!("/osmand?id={token}&lat=200&lon=1")),
    ];
    let sent = requests.len();
    for request in requests {
        let target = request.head.lines().next().expect("a line").to_owned();
        assert_eq!(server.send(request).await.status, 200, "{target}");
    }
    let quarantined = server.quarantined().await;
    assert_eq!(quarantined.len(), sent);
    for (courier, found) in &quarantined {
        assert_eq!(courier, "c-1");
        let raw = String::from_utf8_lossy(&found.raw);
        assert!(!raw.contains(&token), "a token in quarantine: {raw}");
    }
    let too_large = quarantined
        .iter()
        .filter(|(_, q)| q.reason == "the upload is too large");
    assert_eq!(too_large.count(), 2);
    assert!(server.stored().await.is_empty());
}

#[tokio::test]
async fn strangers_are_401_before_their_bodies_are_read() {
    let server = Server::start().await;
    let token = server.device("c-1");
    server.device("c-2");
    let bearer = |value: &str| Request::new("POST", "/v1/positions").header("Authorization", value);
    let basic = |text: &str| BASE64_STANDARD.encode(text);
    // Heads whose bodies never come: an answer shows that it was not waited for.
    let waiting = [
        Request::new("POST", "/v1/positions"),
        bearer("Bearer wld_unknown"),
        bearer("Bearer"),
        bearer(&format!("Basic {}", basic(&format!("c-1:{token}")))),
        Request::new("POST", "/osmand?id=wld_unknown"),
        Request::new("POST", "/owntracks"),
        Request::owntracks("c-2", &token),
        Request::owntracks("", &token),
        Request::owntracks("c-1", "wld_unknown"),
        Request::new("POST", "/owntracks").header("Authorization", "Basic !!!"),
    ];
    for request in waiting {
        let head = format!("{}Content-Length: 100\r\n\r\n", request.head);
        let reply = exchange(server.address, head.as_bytes()).await;
        assert_eq!(reply.status, 401, "{head}");
        assert!(reply.head.contains("www-authenticate: "), "{head}");
    }
    for request in [
        Request::new("GET", "/osmand?lat=1&lon=2"),
        Request::new("GET", "/osmand?id=&lat=1&lon=2"),
        Request::new("POST", "/osmand").body("lat=1&lon=2"),
        Request::new("POST", "/osmand").body(r#"{"device_id":"wld_unknown"}"#),
        Request::new("POST", "/osmand").body("{"),
    ] {
        assert_eq!(server.send(request).await.status, 401);
    }
    assert!(server.stored().await.is_empty() && server.quarantined().await.is_empty());
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let setup = Setup {
        body_timeout: Duration::from_millis(200),
        ..Setup::default()
    };
    let server = Server::with(setup).await;
    let token = server.device("c-1");
    let osmand = Request::new("POST", &format!("/osmand?id={token}"));
    for request in [Request::native(&token), osmand] {
        let head = format!("{}Content-Length: 100\r\n\r\n[{{\"fix", request.head);
        let reply = exchange(server.address, head.as_bytes()).await;
        assert_eq!(reply.status, 408, "{reply:?}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_harms_nobody() {
    let server = Server::start().await;
    let token = server.device("c-1");
    let head = format!(
        "{}Content-Length: 100\r\n\r\n[{{",
        Request::native(&token).head
    );
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    stream.write_all(head.as_bytes()).await.expect("written");
    drop(stream);
    assert_eq!(server.post(&token, &fix(NOW_MS)).await.counts(), (1, 0, 0));
}
