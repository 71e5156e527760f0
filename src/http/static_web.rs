//! The pages, the basemap and the pages' settings: files that are part of the program.
//!
//! In release builds the files are in the binary; in debug builds they are read from `web/dist`.
//! Files under `assets/` have a hash in their name and never change; all others are asked for again
//! with their ETag.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parking_lot::RwLock;
use rust_embed::{Embed, EmbeddedFile};
use rustc_hash::FxHashMap;
use serde_json::json;

use super::Problem;
use super::range::{self, Basemap};
use crate::config::{Config, WebConfig};

#[derive(Embed)]
#[folder = "web/dist"]
struct Pages;

/// The pages' files and the routes that they answer.
const PAGES: &[(&str, &str)] = &[
    ("/", "index.html"),
    ("/t/{token}", "customer.html"),
    ("/sign-in", "sign-in.html"),
    ("/trips", "trips.html"),
    ("/stream", "stream.html"),
    ("/events", "events.html"),
    ("/join/{code}", "courier.html"),
    ("/courier", "courier.html"),
    ("/couriers", "couriers.html"),
    ("/styleguide", "styleguide.html"),
    ("/docs", "docs.html"),
];
const NOT_FOUND: &str = "not-found.html";
/// Smaller files are not worth compressing.
const COMPRESS_FROM: usize = 1024;
/// A position is never called stale before this, seconds.
const LEAST_STALE_S: u32 = 30;

/// The routes of pages.
pub fn page_routes() -> impl Iterator<Item = &'static str> {
    PAGES.iter().map(|(route, _)| *route)
}

/// Whether this installation shows the demo. Cheap to clone.
#[derive(Clone, Default)]
pub struct DemoFlag(Arc<AtomicBool>);

impl DemoFlag {
    /// Says whether there is a demo.
    pub fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Routes of pages, assets, basemap and `web-config.json`.
pub(super) fn routes(config: &Config, demo: DemoFlag) -> Router {
    let basemap = Arc::new(Basemap::of(&config.web));
    let settings = settings(config, &basemap);
    let config = get(move || async move {
        let mut settings = settings;
        settings["demo"] = demo.get().into();
        ([(header::CACHE_CONTROL, "no-cache")], axum::Json(settings))
    });
    let mut router = Router::new().route("/web-config.json", config);
    for (route, file) in PAGES {
        let page = move |method: Method, headers: HeaderMap| async move {
            let mut response = answer(file, &method, &headers);
            if matches!(*file, "customer.html" | "courier.html") {
                let noindex = HeaderValue::from_static("noindex, nofollow");
                response.headers_mut().insert("x-robots-tag", noindex);
            }
            response
        };
        router = router.route(route, get(page));
    }
    let asset = |Path(path): Path<String>, method: Method, headers: HeaderMap| async move {
        answer(&format!("assets/{path}"), &method, &headers)
    };
    let top = |Path(file): Path<String>, method: Method, headers: HeaderMap| async move {
        // Pages have routes of their own.
        if file.ends_with(".html") {
            not_found()
        } else {
            answer(&file, &method, &headers)
        }
    };
    let tiles = move |Path(file): Path<String>, headers: HeaderMap| async move {
        range::answer(&basemap, &file, &headers).await
    };
    router
        .route("/assets/{*path}", get(asset))
        .route("/basemap/{file}", get(tiles))
        .route("/{file}", get(top))
}

/// What the pages must know of this installation.
fn settings(config: &Config, basemap: &Basemap) -> serde_json::Value {
    let web = &config.web;
    let (url, kind) = basemap.url();
    json!({
        "brand": {
            "name": web.brand_name,
            "logo_url": web.brand_logo_url,
            "accent": web.brand_accent,
            "phone": web.brand_phone,
        },
        "basemap": {"url": url, "kind": kind},
        "languages": ["en", "de"],
        // An address finds its place by itself.
        "geocoder": config.geocoder.url.is_some(),
        // A watched phone sends fast: three of its intervals without a fix are a silence.
        "stale_after_s": LEAST_STALE_S.max(config.ingest.interval_fast_s.saturating_mul(3)),
    })
}

/// The page that says that there is nothing.
pub(super) fn not_found() -> Response {
    match Pages::get(NOT_FOUND) {
        Some(page) => {
            let html = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
            (StatusCode::NOT_FOUND, html, page.data.into_owned()).into_response()
        }
        None => Problem::not_found("this page").into_response(),
    }
}

fn answer(file: &str, method: &Method, headers: &HeaderMap) -> Response {
    let Some(found) = Pages::get(file) else {
        if Pages::get("index.html").is_none() {
            let detail = "this program was built without its web pages: run `make build`";
            return Problem::new(StatusCode::NOT_FOUND, "no_pages", detail).into_response();
        }
        return not_found();
    };
    let hash = found.metadata.sha256_hash();
    let tag = format!("\"{}\"", hex(&hash[..12]));
    let cache = match file.starts_with("assets/") {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let mut response = if asks_for(headers, header::IF_NONE_MATCH, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        content(file, found, hash, method, headers)
    };
    let answer = response.headers_mut();
    if let Ok(tag) = HeaderValue::try_from(tag) {
        answer.insert(header::ETAG, tag);
    }
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    answer.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    response
}

fn content(
    file: &str,
    found: EmbeddedFile,
    hash: [u8; 32],
    method: &Method,
    headers: &HeaderMap,
) -> Response {
    let kind = content_type(file);
    let text = !kind.starts_with("font/") && !kind.starts_with("image/png");
    let gzip = text
        && found.data.len() >= COMPRESS_FROM
        && asks_for(headers, header::ACCEPT_ENCODING, "gzip");
    let bytes = match (gzip, found.data) {
        (true, data) => compressed(hash, &data),
        (false, std::borrow::Cow::Borrowed(data)) => Bytes::from_static(data),
        (false, std::borrow::Cow::Owned(data)) => data.into(),
    };
    let length = bytes.len();
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        bytes.into()
    };
    let mut response = body.into_response();
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.insert(header::CONTENT_LENGTH, length.into());
    if gzip {
        answer.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Each file is compressed once, thoroughly.
fn compressed(hash: [u8; 32], data: &[u8]) -> Bytes {
    static DONE: RwLock<Option<FxHashMap<[u8; 32], Bytes>>> = RwLock::new(None);
    if let Some(bytes) = DONE.read().as_ref().and_then(|done| done.get(&hash)) {
        return bytes.clone();
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let bytes = match gzip.write_all(data).and_then(|()| gzip.finish()) {
        Ok(bytes) => Bytes::from(bytes),
        // Writing to memory does not fail.
        Err(_) => return Bytes::new(),
    };
    DONE.write()
        .get_or_insert_default()
        .insert(hash, bytes.clone());
    bytes
}

fn asks_for(headers: &HeaderMap, name: header::HeaderName, what: &str) -> bool {
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let named = parts
            .next()
            .is_some_and(|n| n.trim_start_matches("W/") == what);
        named && !parts.any(|p| p == "q=0")
    })
}

fn content_type(file: &str) -> &'static str {
    match file.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where a basemap's file is, if it is one.
pub(super) fn file_of(web: &WebConfig) -> Option<PathBuf> {
    web.basemap
        .as_ref()
        .filter(|map| !map.contains("://"))
        .map(PathBuf::from)
}
