//! The same request twice, the same answer: `Idempotency-Key`.
//!
//! The key is taken in the transaction of the change, so that of two equal requests at once the second
//! waits for the first. The answer is stored sealed with a key made of the caller's own credential,
//! since it may hold a secret that is shown once: who has the database alone cannot read it. A request
//! that was refused is not remembered; it may be sent again.

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::{Answer, ApiBytes, Problem, credential};
use crate::access::Sealed;

/// Longest key that is taken, bytes.
const MAX_KEY: usize = 255;

/// A body that creates something, and the Idempotency-Key that came with it.
pub struct Creating<T> {
    /// What is to be created.
    pub body: T,
    /// The key, if the request bears one.
    pub idempotent: Option<Idempotent>,
}

/// A request that must have one effect, however often it is sent.
pub struct Idempotent {
    /// Hash of caller, route and key.
    scope: [u8; 32],
    /// Hash of the body.
    request: [u8; 32],
    sealed: Sealed,
}

/// Whether a request is new.
pub enum Begun {
    /// Seen for the first time.
    Fresh,
    /// Answered before.
    Answered(Response),
}

impl<S, T> FromRequest<S> for Creating<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let key = parts
            .headers
            .get("idempotency-key")
            .map(|value| value.as_bytes().to_vec());
        let names = match (key, credential(&parts)) {
            (Some(key), Some(credential)) => {
                if key.is_empty() || key.len() > MAX_KEY {
                    let detail = format!("Idempotency-Key has 1 to {MAX_KEY} characters");
                    return Err(Problem::bad_request(detail));
                }
                let route = format!("{} {}", parts.method, parts.uri.path());
                let scope = hash(&[b"scope", credential.as_bytes(), route.as_bytes(), &key]);
                let seal = hash(&[b"seal", credential.as_bytes(), route.as_bytes(), &key]);
                Some((scope, Sealed::with(seal)))
            }
            _ => None,
        };
        let request = Request::from_parts(parts, body);
        let ApiBytes { bytes, value } = ApiBytes::from_request(request, state).await?;
        let idempotent = names.map(|(scope, sealed)| Idempotent {
            scope,
            request: hash(&[b"request", &bytes]),
            sealed,
        });
        Ok(Self {
            body: value,
            idempotent,
        })
    }
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"waylog idempotency\0");
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

impl Idempotent {
    /// Takes the key, in the transaction of the change.
    ///
    /// # Errors
    /// If the key was used for another request, or its answer is lost.
    pub async fn begin(&self, sql: &mut PgConnection) -> Result<Begun, Problem> {
        const TAKE: &str = "insert into dispatch.idempotency (scope, request_hash) values ($1, $2) \
                            on conflict do nothing";
        let taken = sqlx::query(TAKE)
            .bind(&self.scope[..])
            .bind(&self.request[..]);
        if taken.execute(&mut *sql).await?.rows_affected() == 1 {
            return Ok(Begun::Fresh);
        }
        const FIND: &str = "select request_hash, sealed from dispatch.idempotency where scope = $1";
        let (request, sealed): (Vec<u8>, Option<Vec<u8>>) = sqlx::query_as(FIND)
            .bind(&self.scope[..])
            .fetch_one(sql)
            .await?;
        if request != self.request {
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_mismatch",
                "this Idempotency-Key was used for another request; use a new one",
            ));
        }
        let opened = sealed.and_then(|sealed| self.sealed.open(sealed));
        let answer = opened.and_then(|answer| serde_json::from_slice::<Answer>(&answer).ok());
        let answer = answer.ok_or_else(|| {
            let detail = "the answer to this Idempotency-Key is no longer there; use a new one";
            Problem::conflict("idempotency_lost", detail)
        })?;
        let mut response = answer.into_response();
        let replayed = axum::http::HeaderValue::from_static("true");
        response
            .headers_mut()
            .insert("idempotent-replayed", replayed);
        Ok(Begun::Answered(response))
    }

    /// Keeps the answer, in the transaction of the change.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn keep(self, sql: &mut PgConnection, answer: &Answer) -> Result<(), Problem> {
        const KEEP: &str =
            "update dispatch.idempotency set status = 201, sealed = $2 where scope = $1";
        let plain = serde_json::to_vec(answer).unwrap_or_default();
        let sealed = self.sealed.seal(plain);
        sqlx::query(KEEP)
            .bind(&self.scope[..])
            .bind(sealed)
            .execute(sql)
            .await?;
        Ok(())
    }
}
