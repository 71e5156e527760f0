//! Every route, and what every kind of caller is answered by it.
//!
//! The routes come from the API's own document and, for pages and the like, from the sources: a
//! route without a row here fails the test, and so does a row without a route.

mod callers;
mod rows;
mod sockets;

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use crate::support::database::Database;
use crate::support::server::{Server, Setup};
use callers::{Caller, Callers, Kind};
use rows::{API, PLAIN, Row, SOCKETS, Way};

/// What a caller is answered where the row says what an allowed one is.
fn expected(row: &Row, kind: Kind) -> u16 {
    use rows::Who::{Anybody, Staff};
    match (row.who, kind) {
        (Anybody, _) => row.allowed,
        // Before anything else: a page of another site may have made the browser send it.
        (Staff(_), Kind::Cookie(_)) if row.method != "get" => 403,
        (Staff(at_least), Kind::Key(role) | Kind::Cookie(role) | Kind::CookieWithToken(role)) => {
            match role >= at_least {
                true => row.allowed,
                false => 403,
            }
        }
        (rows::Who::Phone, Kind::Phone) => row.allowed,
        (rows::Who::Phone, Kind::OthersPhone) => row.others,
        (rows::Who::Link, Kind::Link | Kind::OthersLink) => row.allowed,
        // Whoever had a link is told that it is over; it was never more than this one link.
        (rows::Who::Link, Kind::ExpiredLink | Kind::RevokedLink) => 410,
        _ => 401,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_every_kind_of_caller_as_it_should() {
    let database = Database::create().await;
    let phones_port = free_port();
    let mut setup = Setup::new(Some(&database.url))
        .set("WAYLOG__LIMITS__WRONG_PER_S", "0")
        .set("WAYLOG__HTTP__OSMAND_LISTEN", &phones_port);
    let server = setup.start().await;
    let callers = Callers::make(&server, &database).await;

    every_documented_route_has_its_row(&server).await;
    every_plain_route_has_its_row();
    let mut wrong = Vec::new();
    for row in API {
        for caller in &callers.all {
            let (status, problem) = ask(&server, row, caller).await;
            let wanted = expected(row, caller.kind);
            if status != wanted || (status >= 400 && !problem) {
                let said = if problem { "" } else { ", not as a problem" };
                wrong.push(format!(
                    "{} {} by {:?}: {status}{said}, expected {wanted}",
                    row.method, row.path, caller.kind
                ));
            }
        }
    }
    for (path, port, everybody) in PLAIN {
        for caller in &callers.all {
            let path = path
                .replace("{file}", "nothing")
                .replace("{*path}", "nothing");
            let path = path.replace("{token}", "x").replace("{code}", "x");
            let (url, wanted) = match (port, caller.kind) {
                (rows::Port::Main, _) => (format!("{}{path}", server.url), *everybody),
                (rows::Port::Phones, kind) => {
                    let token = caller.token().unwrap_or_default();
                    let url = format!("http://{phones_port}{path}?id={token}");
                    let phone = matches!(kind, Kind::Phone | Kind::OthersPhone);
                    (url, if phone { 200 } else { *everybody })
                }
            };
            let request = caller.bearing(server.http.get(url));
            let status = request.send().await.expect("answered").status().as_u16();
            if status != wanted {
                let kind = caller.kind;
                wrong.push(format!("{path} by {kind:?}: {status}, expected {wanted}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    sockets::each_lets_in_its_own_and_nobody_else(&server, &callers).await;
    callers.nothing_has_changed(&server).await;
    assert!(server.stop().await);
    database.drop_database().await;
}

/// Status, and whether the body is a problem.
async fn ask(server: &Server, row: &Row, caller: &Caller) -> (u16, bool) {
    let method: Method = row.method.to_uppercase().parse().expect("a method");
    let mut url = format!("{}{}", server.url, row.target());
    if let (Way::Query, Some(token)) = (row.way, caller.token()) {
        url.push_str(&format!("?id={token}"));
    }
    let mut request = server.http.request(method, url);
    if row.method != "get" {
        request = request
            .header("content-type", "application/json")
            .body(row.body);
    }
    request = match row.way {
        Way::Bearer => caller.bearing(request),
        Way::Query => request,
        Way::Basic => match caller.token() {
            Some(token) => request.basic_auth("c-1", Some(token)),
            None => request,
        },
    };
    let answer = request.send().await.expect("answered");
    let status = answer.status().as_u16();
    let kind = answer.headers().get("content-type");
    let problem = kind.is_some_and(|kind| kind == "application/problem+json");
    (status, problem)
}

async fn every_documented_route_has_its_row(server: &Server) {
    let (status, document) = server
        .request(Method::GET, "/v1/openapi.json", None, None)
        .await;
    assert_eq!(status, 200);
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            documented.insert((method.as_str(), path.as_str()));
            says_who_may(method, path, operation);
        }
    }
    let rows = API.iter().map(|row| (row.method, row.path));
    let rows: BTreeSet<_> = rows
        .chain(SOCKETS.iter().map(|path| ("get", *path)))
        .collect();
    let missing: Vec<_> = documented.difference(&rows).collect();
    assert!(
        missing.is_empty(),
        "no row in tests/scenarios/who_may/rows.rs says who may call {missing:?}"
    );
    let extra: Vec<_> = rows.difference(&documented).collect();
    assert!(
        extra.is_empty(),
        "rows for routes that are no more: {extra:?}"
    );
}

/// The document names the credentials that the row's callers have.
fn says_who_may(method: &str, path: &str, operation: &Value) {
    let Some(row) = API.iter().find(|r| r.method == method && r.path == path) else {
        return;
    };
    let schemes: BTreeSet<&str> = operation["security"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|one| one.as_object().expect("a scheme").keys())
        .map(String::as_str)
        .collect();
    let wanted: &[&str] = match (row.who, row.way) {
        // The token is a parameter of the request.
        (rows::Who::Anybody, _) | (_, Way::Query) => &[],
        (rows::Who::Staff(_), _) if path == "/v1/session" => &["session"],
        (rows::Who::Staff(_), _) => &["api_key", "session"],
        (rows::Who::Phone, Way::Basic) => &["device_basic"],
        (rows::Who::Phone, _) => &["device"],
        (rows::Who::Link, _) => &["link"],
    };
    let wanted: BTreeSet<&str> = wanted.iter().copied().collect();
    assert_eq!(
        schemes, wanted,
        "the security that the document tells of {method} {path}"
    );
}

/// Routes that no document describes are named in the sources, as texts.
fn every_plain_route_has_its_row() {
    let mut named: BTreeSet<String> = waylog::http::page_routes().map(str::to_owned).collect();
    let routers = crate::tidy::served_sources();
    let routers = routers.filter(|(_, text)| text.contains("axum") && text.contains("Router"));
    for (path, text) in routers {
        for (at, _) in text.match_indices(".route(") {
            let rest = text[at + ".route(".len()..].trim_start();
            match rest
                .strip_prefix('"')
                .and_then(|rest| rest.split('"').next())
            {
                Some(route) => drop(named.insert(route.to_owned())),
                // Those of the pages, which are asked for above.
                None => assert!(
                    rest.starts_with("route, get(page)"),
                    "{}: a route whose name cannot be read",
                    path.display()
                ),
            }
        }
        for other in [".nest(", ".nest_service(", ".route_service("] {
            assert!(!text.contains(other), "{}: {other}", path.display());
        }
    }
    let rows: BTreeSet<String> = PLAIN.iter().map(|(path, ..)| (*path).to_owned()).collect();
    assert_eq!(named, rows, "routes in the sources, and rows of PLAIN");
}

fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}
