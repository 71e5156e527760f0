//! A real browser: headless Chromium, driven through chromedriver.
//!
//! One window may be looked at as several devices: size, touch and theme are set by DevTools
//! ([`super::devtools`]), exactly, while a window's own size has a frame in it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::eventually;
use super::server::{ADMIN_KEY, Server};

/// WebDriver's code points of keys: <https://www.w3.org/TR/webdriver2/#keyboard-actions>.
const KEY_CONTROL: char = '\u{e009}';
const KEY_NULL: char = '\u{e000}';
const KEY_DELETE: char = '\u{e017}';

/// What headless Chromium needs on a machine without a screen.
const ARGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--lang=en-GB",
];
pub const DESK: (u32, u32) = (1440, 900);
pub const HAND: (u32, u32) = (390, 844);

/// A browser window with a profile of its own.
pub struct Browser {
    pub client: Client,
    driver: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens a window of this many CSS pixels.
    pub async fn open(width: u32, height: u32, dark: bool) -> Self {
        let browser = Self::with(&[]).await;
        browser.look((width, height), dark).await;
        browser
    }

    /// A browser that cannot draw maps.
    pub async fn without_webgl((width, height): (u32, u32)) -> Self {
        let browser = Self::with(&["--disable-3d-apis"]).await;
        browser.look((width, height), false).await;
        browser
    }

    async fn with(more: &[&str]) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect(
                "chromedriver starts (Debian package chromium-driver; `make test` installs it)",
            );
        let mut lines = BufReader::new(driver.stdout.take().expect("piped")).lines();
        let port = loop {
            let line = lines
                .next_line()
                .await
                .expect("readable")
                .expect("chromedriver is up");
            if let Some((_, rest)) = line.split_once("started successfully on port ") {
                break rest.trim_end_matches('.').to_owned();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let profile = tempfile::tempdir().expect("a folder");
        let profile_arg = format!("--user-data-dir={}", profile.path().display());
        let args: Vec<&str> = ARGS
            .iter()
            .chain(more)
            .copied()
            .chain([profile_arg.as_str()])
            .collect();
        let options = json!({
            "goog:chromeOptions": {"args": args, "binary": "/usr/bin/chromium"},
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let capabilities = options.as_object().expect("an object").clone();
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a browser session");
        Self {
            client,
            driver,
            _profile: profile,
        }
    }

    pub async fn goto(&self, url: &str) {
        self.client.goto(url).await.expect("the page opens");
    }

    /// The value of an expression in the page; `Null` while it cannot be had.
    pub async fn value(&self, expression: &str) -> Value {
        let script = format!("return ({expression}) ?? null");
        self.client
            .execute(&script, vec![])
            .await
            .unwrap_or(Value::Null)
    }

    /// Runs statements in the page.
    pub async fn run(&self, script: &str) -> Value {
        self.client
            .execute(script, vec![])
            .await
            .expect("the script runs")
    }

    /// Waits until an expression is true in the page.
    pub async fn shows(&self, what: &str, expression: &str) {
        let expression = format!("Boolean({expression})");
        eventually(what, || async {
            (self.value(&expression).await == Value::Bool(true)).then_some(())
        })
        .await;
    }

    /// Waits until the page's text holds `words`.
    pub async fn says(&self, words: &str) {
        let expression = format!("document.body.innerText.includes({})", json!(words));
        self.shows(&format!("the page to say {words:?}"), &expression)
            .await;
    }

    /// The first element that fits, once there is one.
    pub async fn element(&self, css: &str) -> Element {
        eventually(&format!("an element {css}"), || async {
            self.client.find(Locator::Css(css)).await.ok()
        })
        .await
    }

    /// Clicks the first element that fits, once it is there and can be clicked.
    pub async fn click(&self, css: &str) {
        eventually(&format!("to click {css}"), || async {
            let element = self.client.find(Locator::Css(css)).await.ok()?;
            element.click().await.ok()
        })
        .await;
    }

    /// Clicks the button or link that bears `words`.
    pub async fn press(&self, words: &str) {
        let path = format!(
            "//*[self::button or self::a][normalize-space(.)={w} or @aria-label={w}]",
            w = json!(words)
        );
        eventually(&format!("to press {words:?}"), || async {
            let element = self.client.find(Locator::XPath(&path)).await.ok()?;
            element.click().await.ok()
        })
        .await;
    }

    pub async fn write(&self, css: &str, text: &str) {
        // As a person empties a field: the page hears of it, which WebDriver's own clear keeps from it.
        let field = self.element(css).await;
        let all = format!("{}a{}{}", KEY_CONTROL, KEY_NULL, KEY_DELETE);
        field.send_keys(&all).await.expect("emptied");
        field.send_keys(text).await.expect("typed");
    }

    /// Signs in as admin and ends on the fleet page.
    pub async fn sign_in(&self, server: &Server) {
        self.goto(&format!("{}/sign-in", server.url)).await;
        self.write("input[name=key]", ADMIN_KEY).await;
        self.click("button[type=submit]").await;
        self.shows("to be signed in", "location.pathname === '/'")
            .await;
    }

    /// Saves what the window shows as `tests/artifacts/{name}.png`.
    pub async fn screenshot(&self, name: &str) -> PathBuf {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/artifacts");
        std::fs::create_dir_all(&dir).expect("a folder");
        let path = dir.join(format!("{name}.png"));
        std::fs::write(&path, self.client.screenshot().await.expect("a picture")).expect("written");
        path
    }

    pub async fn close(self) {
        self.client.clone().close().await.expect("closes");
    }
}

/// A test that fails leaves no browser behind: killing the driver alone would.
impl Drop for Browser {
    fn drop(&mut self) {
        let group = self
            .driver
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(group) = group {
            // It may have ended by itself.
            rustix::process::kill_process_group(group, Signal::KILL).unwrap_or_default();
        }
    }
}
