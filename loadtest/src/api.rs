//! The JSON API, as the load test needs it for provisioning and for looking at the stream.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::client::{Answer, Connection};

/// Where the server is and who asks.
#[derive(Clone)]
pub struct Api {
    /// Its address.
    pub address: SocketAddr,
    /// What stands in `Host`.
    pub host: String,
    key: String,
}

impl Api {
    /// From `http://host:port`.
    pub fn new(url: &str, key: &str) -> anyhow::Result<Self> {
        let host = url
            .strip_prefix("http://")
            .with_context(|| format!("{url} must begin with http://: load is made without TLS"))?;
        let host = host.trim_end_matches('/').to_owned();
        let address = host
            .to_socket_addrs()
            .with_context(|| format!("{host} is not host:port"))?
            .next()
            .with_context(|| format!("{host} has no address"))?;
        Ok(Self {
            address,
            host,
            key: key.to_owned(),
        })
    }

    /// The same server, asked with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self {
            key: key.to_owned(),
            ..self.clone()
        }
    }

    /// A GET with the key, as bytes that a connection sends.
    pub fn get(&self, path: &str) -> String {
        let Self { host, key, .. } = self;
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\r\n")
    }

    /// A connection for calls.
    pub async fn connect(&self) -> anyhow::Result<ApiConnection> {
        Ok(ApiConnection {
            api: self.clone(),
            connection: Connection::open(self.address).await?,
        })
    }
}

/// A connection on which calls are made one after the other.
pub struct ApiConnection {
    api: Api,
    connection: Connection,
}

impl ApiConnection {
    /// A page as text.
    pub async fn text(&mut self, path: &str) -> anyhow::Result<String> {
        let answer = self.ask("GET", path, "").await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// Calls with the admin key; an answer other than 2xx is an error that holds its detail.
    pub async fn call(&mut self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = self.ask(method, path, &body).await?;
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer.body).with_context(|| format!("{method} {path}"))
    }

    async fn ask(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
        let Api { host, key, .. } = &self.api;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.connection.send(request.as_bytes()).await?;
        let answer = self.connection.answer().await?;
        if !(200..300).contains(&answer.status) {
            let text = String::from_utf8_lossy(&answer.body);
            bail!("{method} {path} answered {}: {text}", answer.status);
        }
        Ok(answer)
    }
}
