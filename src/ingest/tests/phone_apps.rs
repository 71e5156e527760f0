//! Existing phone apps, unmodified.

use super::*;

async fn get(server: &Server, target: &str) -> Reply {
    server.send(Request::new("GET", target)).await
}

#[tokio::test]
async fn osmand_by_query_form_and_second_port() {
    let server = Server::start().await;
    let token = server.device_with("c-1", SpeedUnit::MetresPerSecond);
    for (i, path) in ["/osmand", "/"].into_iter().enumerate() {
        let pairs = |n: usize| {
            format!(
                "id={token}&lat=35.9&lon=14.5&speed=4&timestamp={}",
                NOW_MS / 1000 + n as i64
            )
        };
        let reply = get(&server, &format!("{path}?{}", pairs(10 * i))).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, ""));
        let query = Request::new("POST", &format!("{path}?{}", pairs(10 * i + 1)));
        assert_eq!(server.send(query).await.status, 200);
        let form = Request::new("POST", path)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(pairs(10 * i + 2));
        assert_eq!(server.send(form).await.status, 200);
        let split = Request::new("POST", &format!("{path}?id={token}"))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(format!(
                "lat=35.9&lon=14.5&speed=4&timestamp={}",
                NOW_MS + 10 * i as i64 + 3
            ));
        assert_eq!(server.send(split).await.status, 200);
    }
    let stored = server.stored().await;
    assert_eq!(stored.len(), 8);
    assert!(
        stored
            .iter()
            .all(|(_, batch)| batch.fixes[0].speed_mps == Some(4.0))
    );
}

#[tokio::test]
async fn osmand_heartbeats_and_alarms_are_stored_without_a_fix() {
    let server = Server::start().await;
    let token = server.device("c-1");
    assert_eq!(
        get(&server, &format!("/osmand?id={token}&batt=50"))
            .await
            .status,
        200
    );
    assert_eq!(
        get(&server, &format!("/osmand?deviceid={token}&alarm=sos"))
            .await
            .status,
        200
    );
    let stored = server.stored().await;
    let sos: Vec<bool> = stored.iter().map(|(_, batch)| batch.sos).collect();
    assert_eq!(sos, [false, true]);
    assert!(stored.iter().all(|(_, batch)| batch.fixes.is_empty()));
}

#[tokio::test]
async fn a_fix_resent_with_its_alarm_raises_it_once() {
    let server = Server::start().await;
    let token = server.device("c-1");
    let query = format!("/osmand?id={token}&lat=35.9&lon=14.5&timestamp={NOW_MS}&alarm=sos");
    for _ in 0..3 {
        assert_eq!(get(&server, &query).await.status, 200);
    }
    assert_eq!(server.stored().await.len(), 1);
}

#[tokio::test]
async fn traccar_client_json_one_and_many() {
    let server = Server::start().await;
    let token = server.device("c-1");
    let post = |ms: i64| {
        let at = crate::domain::UnixMs(ms);
        format!(
            r#"{{"location":{{"timestamp":"{at}","coords":{{"latitude":35.9,"longitude":14.5,
            "accuracy":5,"speed":4.5,"heading":-1,"altitude":30}},"is_moving":true,"odometer":1,
            "event":"","battery":{{"level":0.5,"is_charging":true}},"activity":{{"type":"still"}},
            "extras":{{}},"_":"&id={token}"}},"device_id":"{token}"}}"#
        )
    };
    let send = |body: String| {
        server.send(
            Request::new("POST", "/osmand")
                .header("Content-Type", "application/json")
                .body(body),
        )
    };
    assert_eq!(send(post(NOW_MS)).await.status, 200);
    assert_eq!(
        send(format!("[{},{}]", post(NOW_MS + 1), post(NOW_MS + 2)))
            .await
            .status,
        200
    );
    assert_eq!(
        server.stored_times("c-1").await,
        [NOW_MS, NOW_MS + 1, NOW_MS + 2]
    );
    let fix = server.stored().await[0].1.fixes[0];
    assert_eq!(
        (fix.speed_mps, fix.heading_deg, fix.battery_pct),
        (Some(4.5), None, Some(50))
    );
}

#[tokio::test]
async fn a_traccar_array_of_more_than_a_batch_is_several_records() {
    let server = Server::start().await;
    let token = server.device("c-1");
    let posts: Vec<String> = (0..2500)
        .map(|i| {
            format!(
                r#"{{"location":{{"timestamp":{},"coords":{{"latitude":1,"longitude":2}}}},"device_id":"{token}"}}"#,
                NOW_MS + i
            )
        })
        .collect();
    let request = Request::new("POST", "/osmand").body(format!("[{}]", posts.join(",")));
    assert_eq!(server.send(request).await.status, 200);
    assert_eq!(server.stored_times("c-1").await.len(), 2500);
    assert_eq!(server.stored().await.len(), 3);
}

#[tokio::test]
async fn owntracks_locations_are_stored_and_nothing_else() {
    let server = Server::start().await;
    let token = server.device("team:c-1");
    let location = format!(
        r#"{{"_type":"location","lat":35.9,"lon":14.5,"tst":{},"vel":36,"tid":"ab"}}"#,
        NOW_MS / 1000
    );
    for path in ["/owntracks?u=somebody&d=else", "/pub"] {
        let credentials = BASE64_STANDARD.encode(format!("team:c-1:{token}"));
        let request = Request::new("POST", path)
            .header("Authorization", &format!("Basic {credentials}"))
            .header("X-Limit-U", "somebody")
            .body(&location);
        let reply = server.send(request).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "[]"));
        assert!(reply.head.contains("content-type: application/json"));
    }
    for body in [
        "",
        r#"{"_type":"transition","lat":1,"lon":2}"#,
        r#"{"_type":"encrypted"}"#,
    ] {
        let reply = server
            .send(Request::owntracks("team:c-1", &token).body(body))
            .await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "[]"));
    }
    let stored = server.stored().await;
    assert_eq!(stored.len(), 1, "the second was the same fix");
    assert_eq!(stored[0].0, "team:c-1");
    assert_eq!(stored[0].1.fixes[0].speed_mps, Some(10.0));
}
