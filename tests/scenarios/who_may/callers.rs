//! One caller of every kind.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::database::Database;
use crate::support::server::Server;

/// What staff may do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Analyst,
    Dispatcher,
    Admin,
}

const ROLES: [(Role, &str); 3] = [
    (Role::Analyst, "analyst"),
    (Role::Dispatcher, "dispatcher"),
    (Role::Admin, "admin"),
];

/// A kind of caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Without any credential.
    Nobody,
    /// With a token of the right form that nobody holds: of a key, a phone, a link.
    Wrong,
    Key(Role),
    RevokedKey,
    /// A browser, whose page does not show that it is ours.
    Cookie(Role),
    /// A browser with a page of ours.
    CookieWithToken(Role),
    /// A browser that was signed out, and one whose time is over.
    EndedCookie,
    ExpiredCookie,
    /// A phone of the courier `c-1`, who has `d-1`.
    Phone,
    /// A phone of another courier.
    OthersPhone,
    RevokedPhone,
    /// A link to `d-1`.
    Link,
    /// A link to another delivery.
    OthersLink,
    RevokedLink,
    ExpiredLink,
}

/// How a caller says who it is.
enum Credential {
    None,
    Token(String),
    Cookie {
        cookie: String,
        csrf: Option<String>,
    },
}

pub struct Caller {
    pub kind: Kind,
    credential: Credential,
}

impl Caller {
    /// The token, if it is one.
    pub fn token(&self) -> Option<&str> {
        match &self.credential {
            Credential::Token(token) => Some(token),
            _ => None,
        }
    }

    /// The request with the credential.
    pub fn bearing(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.credential {
            Credential::None => request,
            Credential::Token(token) => request.bearer_auth(token),
            Credential::Cookie { cookie, csrf } => {
                let request = request.header("cookie", cookie);
                match csrf {
                    Some(csrf) => request.header("x-csrf-token", csrf),
                    None => request,
                }
            }
        }
    }
}

pub struct Callers {
    pub all: Vec<Caller>,
    before: Value,
}

/// A secret of this kind that nobody was given.
fn nobodys(prefix: &str) -> String {
    format!("{prefix}{}", "0".repeat(32))
}

impl Callers {
    pub async fn make(server: &Server, database: &Database) -> Self {
        let mut all = vec![Caller {
            kind: Kind::Nobody,
            credential: Credential::None,
        }];
        let mut add = |kind, token: String| {
            let credential = Credential::Token(token);
            all.push(Caller { kind, credential });
        };
        ["wlk_", "wld_", "wlt_", "wls_", "wlj_"]
            .into_iter()
            .for_each(|prefix| add(Kind::Wrong, nobodys(prefix)));
        for (role, word) in ROLES {
            add(
                Kind::Key(role),
                key(server, word).await["key"].to_string().replace('"', ""),
            );
        }
        let revoked = key(server, "admin").await;
        remove(server, &format!("/v1/api-keys/{}", text(&revoked, "id"))).await;
        add(Kind::RevokedKey, text(&revoked, "key"));

        for courier in ["c-1", "c-2"] {
            server.create("/v1/couriers", json!({"id": courier})).await;
        }
        add(Kind::Phone, text(&phone(server, "c-1").await, "token"));
        add(
            Kind::OthersPhone,
            text(&phone(server, "c-2").await, "token"),
        );
        let revoked = phone(server, "c-1").await;
        let path = format!("/v1/couriers/c-1/devices/{}", text(&revoked, "id"));
        remove(server, &path).await;
        add(Kind::RevokedPhone, text(&revoked, "token"));

        let place = json!({"lat": 35.9, "lon": 14.5});
        for (delivery, courier) in [("d-1", "c-1"), ("d-2", "c-2")] {
            let body = json!({"id": delivery, "courier_id": courier, "pickup": place,
                "dropoff": {"lat": 35.9, "lon": 14.5, "label": delivery}});
            server.create("/v1/deliveries", body).await;
        }
        add(Kind::Link, text(&link(server, "d-1").await, "token"));
        add(Kind::OthersLink, text(&link(server, "d-2").await, "token"));
        let revoked = link(server, "d-1").await;
        let path = format!("/v1/deliveries/d-1/links/{}", text(&revoked, "id"));
        remove(server, &path).await;
        add(Kind::RevokedLink, text(&revoked, "token"));
        let expired = nobodys("wlt_").replace('0', "7");
        expired_link(database, &expired).await;
        add(Kind::ExpiredLink, expired);

        for (role, word) in ROLES {
            let session = session(server, word).await;
            let cookie = session.0.clone();
            all.push(Caller {
                kind: Kind::Cookie(role),
                credential: Credential::Cookie { cookie, csrf: None },
            });
            all.push(Caller {
                kind: Kind::CookieWithToken(role),
                credential: Credential::Cookie {
                    cookie: session.0,
                    csrf: Some(session.1),
                },
            });
        }
        let (cookie, csrf) = session(server, "admin").await;
        let out = server.http.delete(format!("{}/v1/session", server.url));
        let out = out.header("cookie", &cookie).header("x-csrf-token", &csrf);
        assert_eq!(out.send().await.expect("answered").status(), 204);
        all.push(Caller {
            kind: Kind::EndedCookie,
            credential: Credential::Cookie {
                cookie,
                csrf: Some(csrf),
            },
        });
        let expired = nobodys("wls_").replace('0', "7");
        expired_session(database, &expired).await;
        let cookie = format!("waylog_session={expired}");
        all.push(Caller {
            kind: Kind::ExpiredCookie,
            credential: Credential::Cookie { cookie, csrf: None },
        });
        let before = picture(server).await;
        Self { all, before }
    }

    /// The token of the caller of this kind.
    pub fn token_of(&self, kind: Kind) -> &str {
        let caller = self.all.iter().find(|caller| caller.kind == kind);
        caller.and_then(Caller::token).expect("there is one")
    }

    /// Nobody has changed a courier, a delivery, a phone, a link or a key.
    pub async fn nothing_has_changed(&self, server: &Server) {
        assert_eq!(picture(server).await, self.before);
    }
}

async fn picture(server: &Server) -> Value {
    let mut seen = Vec::new();
    for path in [
        "/v1/couriers",
        "/v1/couriers/c-1/devices",
        "/v1/deliveries",
        "/v1/deliveries/d-1/links",
        "/v1/geofences",
        "/v1/api-keys",
        "/v1/users",
        "/v1/webhooks",
    ] {
        let (status, mut list) = server.admin(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {list}");
        for item in list["items"].as_array_mut().expect("items") {
            // How many look through a link is no change of it.
            item.as_object_mut().expect("an object").remove("viewers");
        }
        seen.push(list);
    }
    Value::Array(seen)
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().expect("a text").to_owned()
}

async fn key(server: &Server, role: &str) -> Value {
    server.create("/v1/api-keys", json!({"role": role})).await
}

async fn phone(server: &Server, courier: &str) -> Value {
    server
        .create(&format!("/v1/couriers/{courier}/devices"), json!({}))
        .await
}

async fn link(server: &Server, delivery: &str) -> Value {
    server
        .create(&format!("/v1/deliveries/{delivery}/links"), json!({}))
        .await
}

async fn remove(server: &Server, path: &str) {
    assert_eq!(server.admin(Method::DELETE, path, None).await.0, 204);
}

/// Signs in with a new key of this role; answers the cookie and the page's token.
async fn session(server: &Server, role: &str) -> (String, String) {
    let key = text(&key(server, role).await, "key");
    let request = server.http.post(format!("{}/v1/session", server.url));
    let answer = request
        .json(&json!({"key": key}))
        .send()
        .await
        .expect("answered");
    assert_eq!(answer.status(), 201);
    let set = answer.headers()["set-cookie"].to_str().expect("text");
    let cookie = set.split(';').next().expect("a pair").to_owned();
    let body: Value = answer.json().await.expect("JSON");
    (cookie, text(&body, "csrf_token"))
}

fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

async fn expired_link(database: &Database, token: &str) {
    const INSERT: &str = "insert into dispatch.tracking_link \
         (id, delivery_id, token_hash, token_prefix, expires_at) \
         values (gen_random_uuid(), 'd-1', $1, 'wlt_7777', now() - interval '1 minute')";
    let inserted = sqlx::query(INSERT).bind(hash(token));
    inserted.execute(&database.pool).await.expect("inserted");
}

async fn expired_session(database: &Database, token: &str) {
    const INSERT: &str = "insert into dispatch.session (id, token_hash, role, name, expires_at) \
         values (gen_random_uuid(), $1, 'admin', 'late', now() - interval '1 minute')";
    let inserted = sqlx::query(INSERT).bind(hash(token));
    inserted.execute(&database.pool).await.expect("inserted");
}
