//! A real browser: headless Chromium, driven through chromedriver.

use std::path::PathBuf;
use std::process::Stdio;

use fantoccini::{Client, ClientBuilder};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A browser window with a profile of its own.
pub struct Browser {
    pub client: Client,
    _driver: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens a window of this many CSS pixels.
    pub async fn open(width: u32, height: u32, dark: bool) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
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
        let mut args = vec![
            "--headless".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-quic".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        if dark {
            args.push("--force-prefers-color-scheme=dark".to_owned());
            args.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        let options = serde_json::json!({
            "goog:chromeOptions": {
                "args": args,
                "binary": "/usr/bin/chromium",
                "mobileEmulation": (width < 600).then(|| serde_json::json!({
                    "deviceMetrics": {"width": width, "height": height, "pixelRatio": 2.0, "touch": true},
                })),
            },
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let mut options = options;
        if width >= 600
            && let Some(chrome) = options["goog:chromeOptions"].as_object_mut()
        {
            chrome.remove("mobileEmulation");
        }
        let capabilities = options.as_object().expect("an object").clone();
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a browser session");
        if width >= 600 {
            client
                .set_window_size(width, height)
                .await
                .expect("a window size");
        }
        Self {
            client,
            _driver: driver,
            _profile: profile,
        }
    }

    /// Saves what the window shows as `tests/artifacts/{name}.png`.
    pub async fn screenshot(&self, name: &str) -> PathBuf {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/artifacts");
        std::fs::create_dir_all(&dir).expect("a folder");
        let path = dir.join(format!("{name}.png"));
        std::fs::write(&path, self.client.screenshot().await.expect("a picture")).expect("written");
        path
    }

    pub async fn close(self) {
        self.client.close().await.expect("closes");
    }
}
