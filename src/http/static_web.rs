//! The pages: files built from `web/`, embedded in the binary.
//!
//! Hashed assets are cached for ever, pages are revalidated by ETag. Text is kept compressed beside
//! the original (`.br`, `.gz`, made by the web build), so that no request compresses anything.

use axum::Router;
use axum::extract::{Path, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "web/dist"]
#[exclude = ".vite/*"]
struct Pages;

/// The routes of pages and the file that answers each.
const PAGES: [(&str, &str); 11] = [
    ("/", "index.html"),
    ("/t/{token}", "customer.html"),
    ("/sign-in", "sign-in.html"),
    ("/trips", "trips.html"),
    ("/stream", "stream.html"),
    ("/events", "events.html"),
    ("/join/{code}", "courier.html"),
    ("/courier", "courier.html"),
    ("/docs", "docs.html"),
    ("/styleguide", "styleguide.html"),
    ("/robots.txt", "robots.txt"),
];
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// Pages, their assets, and the page for what does not exist.
pub fn routes() -> Router {
    let mut router = Router::new();
    for (route, file) in PAGES {
        let private = route.contains('{');
        router = router.route(
            route,
            get(move |headers: HeaderMap| async move { page(file, &headers, private) }),
        );
    }
    router
        .route("/assets/{*path}", get(asset))
        .fallback(nothing_here)
}

fn page(file: &str, headers: &HeaderMap, private: bool) -> Response {
    let Some(mut response) = embedded(file, headers, REVALIDATE) else {
        let hint = "the pages were not built: run `make build`";
        return (StatusCode::NOT_FOUND, hint).into_response();
    };
    if private {
        let robots = HeaderValue::from_static("noindex, nofollow");
        response.headers_mut().insert("x-robots-tag", robots);
    }
    response
}

async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    embedded(&format!("assets/{path}"), &headers, FOR_EVER)
        .unwrap_or_else(|| StatusCode::NOT_FOUND.into_response())
}

/// A person gets a page, a program a problem.
async fn nothing_here(request: Request) -> Response {
    let accept = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("text/html"))
        && let Some(mut response) = embedded("not-found.html", request.headers(), REVALIDATE)
    {
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    }
    super::Problem::not_found("this address").into_response()
}

/// The file, or its compressed sister if the client takes it; `None` if there is none.
fn embedded(path: &str, headers: &HeaderMap, caching: HeaderValue) -> Option<Response> {
    let accepted = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|v| v.to_str().ok());
    let accepts = |name: &str| {
        accepted.is_some_and(|all| {
            all.split(',')
                .any(|one| one.split(';').next().is_some_and(|n| n.trim() == name))
        })
    };
    let compressed = [("br", "br"), ("gzip", "gz")]
        .into_iter()
        .filter(|(name, _)| accepts(name))
        .find_map(|(name, ending)| Some((name, Pages::get(&format!("{path}.{ending}"))?)));
    let (encoding, file) = match compressed {
        Some((encoding, file)) => (Some(encoding), file),
        None => (None, Pages::get(path)?),
    };
    let etag = etag(&file);
    if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|seen| *seen == etag)
    {
        return Some((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let fixed = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static(content_type(path)),
        ),
        (header::CACHE_CONTROL, caching),
        (header::ETAG, etag),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
    ];
    let mut response = (fixed, file.data.into_owned()).into_response();
    if let Some(encoding) = encoding {
        let value = HeaderValue::from_static(encoding);
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, value);
    }
    Some(response)
}

fn etag(file: &EmbeddedFile) -> HeaderValue {
    let hash = file.metadata.sha256_hash();
    let hex: String = hash[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    HeaderValue::from_str(&format!("\"{hex}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        Some("webmanifest") => "application/manifest+json",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
