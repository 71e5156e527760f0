//! What a browser's DevTools can do that WebDriver cannot: be another device, lose its network, say
//! what went wrong in the page.

use fantoccini::wd::WebDriverCompatibleCommand;
use reqwest::Url;
use serde_json::{Value, json};

use super::browser::Browser;

/// A POST below the session's own path.
#[derive(Debug)]
struct Post {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Post {
    fn endpoint(
        &self,
        base: &Url,
        session: Option<&str>,
    ) -> Result<Url, <Url as std::str::FromStr>::Err> {
        base.join(&format!(
            "session/{}/{}",
            session.unwrap_or_default(),
            self.path
        ))
    }

    fn method_and_body(&self, _: &Url) -> (axum::http::Method, Option<String>) {
        (axum::http::Method::POST, Some(self.body.to_string()))
    }
}

impl Browser {
    /// One command of the DevTools protocol.
    pub async fn devtools(&self, cmd: &str, params: Value) -> Value {
        let body = json!({"cmd": cmd, "params": params});
        let post = Post {
            path: "goog/cdp/execute",
            body,
        };
        self.client
            .issue_cmd(post)
            .await
            .unwrap_or_else(|e| panic!("{cmd}: {e}"))
    }

    /// Becomes a device with a screen of so many CSS pixels, in a theme; narrow ones are phones.
    pub async fn look(&self, (width, height): (u32, u32), dark: bool) {
        let phone = width < 600;
        let metrics = json!({
            "width": width, "height": height, "mobile": phone,
            "deviceScaleFactor": if phone { 2 } else { 1 },
        });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
            .await;
        self.devtools(
            "Emulation.setTouchEmulationEnabled",
            json!({"enabled": phone}),
        )
        .await;
        let theme = if dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": theme}]);
        self.devtools(
            "Emulation.setEmulatedMedia",
            json!({"media": "", "features": features}),
        )
        .await;
    }

    /// Takes the network away, or gives it back.
    pub async fn set_offline(&self, offline: bool) {
        self.throttle(offline, 0, -1).await;
    }

    /// A network on which every request takes so long.
    pub async fn set_slow(&self, latency_ms: u32) {
        self.throttle(false, latency_ms, -1).await;
    }

    /// A network of so much latency and so many bytes a second.
    pub async fn throttle(&self, offline: bool, latency_ms: u32, bytes_per_s: i64) {
        self.devtools("Network.enable", json!({})).await;
        let conditions = json!({
            "offline": offline, "latency": latency_ms,
            "downloadThroughput": bytes_per_s, "uploadThroughput": bytes_per_s,
        });
        self.devtools("Network.emulateNetworkConditions", conditions)
            .await;
    }

    /// Requests to these addresses fail as if nothing answered; none of them with an empty list.
    pub async fn block(&self, urls: &[&str]) {
        self.devtools("Network.enable", json!({})).await;
        self.devtools("Network.setBlockedURLs", json!({"urls": urls}))
            .await;
    }

    /// A click of the mouse at a point of the page, with the move that leads there.
    pub async fn click_at(&self, x: f64, y: f64) {
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let event = json!({
                "type": kind, "x": x, "y": y, "clickCount": 1,
                "button": if kind == "mouseMoved" { "none" } else { "left" },
            });
            self.devtools("Input.dispatchMouseEvent", event).await;
        }
    }

    /// A key, pressed and released.
    pub async fn key(&self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            let text = if key == "Enter" { "\r" } else { "" };
            let event = json!({"type": kind, "key": key, "code": key, "text": text});
            self.devtools("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Errors in the page's console since this was last asked: scripts that failed, answers that were
    /// none, rules of the content security policy that were broken.
    pub async fn console_errors(&self) -> Vec<String> {
        let post = Post {
            path: "se/log",
            body: json!({"type": "browser"}),
        };
        let entries = self.client.issue_cmd(post).await.expect("the log");
        let entries = entries.as_array().expect("a list").iter();
        entries
            .filter(|entry| entry["level"] == "SEVERE")
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}
