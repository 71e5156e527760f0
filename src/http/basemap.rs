//! The basemap: one PMTiles file, read by the browser in ranges, and what the pages need to know of
//! it (`/web-config.json`).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, get_service};
use axum::{Json, Router};
use serde::Serialize;
use tower_http::services::ServeFile;

use crate::config::WebConfig;
use crate::directory::Directory;

/// The bundled tiles of Malta, © OpenStreetMap contributors (ODbL), schema © OpenMapTiles.
static BUNDLED: &[u8] = include_bytes!("../../basemap/malta.pmtiles");
const BUNDLED_URL: &str = "/basemap/malta.pmtiles";
const OWN_URL: &str = "/basemap/own.pmtiles";
const A_DAY: HeaderValue = HeaderValue::from_static("public, max-age=86400");

/// What the pages are told about their surroundings.
#[derive(Debug, Clone, Serialize)]
struct Surroundings {
    brand: Brand,
    basemap: Basemap,
    demo: bool,
    languages: [&'static str; 2],
}

#[derive(Debug, Clone, Serialize)]
struct Brand {
    name: String,
    logo_url: Option<String>,
    accent: Option<String>,
    phone: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Basemap {
    url: String,
    kind: &'static str,
}

/// `/basemap/…` and `/web-config.json`.
///
/// # Errors
/// If the configured tiles cannot be read.
pub fn routes(config: &WebConfig, directory: Arc<Directory>) -> anyhow::Result<Router> {
    let mut router = Router::new().route(BUNDLED_URL, get(bundled));
    let basemap = match config.basemap.as_deref() {
        None => Basemap {
            url: BUNDLED_URL.to_owned(),
            kind: "pmtiles",
        },
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            let kind = if url.ends_with(".pmtiles") {
                "pmtiles"
            } else {
                "style"
            };
            Basemap {
                url: url.to_owned(),
                kind,
            }
        }
        Some(file) => {
            std::fs::metadata(file)
                .map_err(|error| anyhow::anyhow!("web.basemap: cannot read {file}: {error}"))?;
            router = router.route(OWN_URL, get_service(ServeFile::new(file)));
            Basemap {
                url: OWN_URL.to_owned(),
                kind: "pmtiles",
            }
        }
    };
    let brand = Brand {
        name: config.brand_name.clone(),
        logo_url: config.brand_logo_url.clone(),
        accent: config.brand_accent.clone(),
        phone: config.brand_phone.clone(),
    };
    let surroundings = Surroundings {
        brand,
        basemap,
        demo: false,
        languages: ["en", "de"],
    };
    let state = (surroundings, directory);
    Ok(router.merge(
        Router::new()
            .route("/web-config.json", get(tell))
            .with_state(state),
    ))
}

async fn tell(
    State((surroundings, directory)): State<(Surroundings, Arc<Directory>)>,
) -> Json<Surroundings> {
    let demo = directory
        .couriers()
        .iter()
        .any(|c| c.tags.iter().any(|tag| &**tag == "demo"));
    Json(Surroundings {
        demo,
        ..surroundings
    })
}

/// The bundled file or the range of it that was asked for (RFC 9110, one range).
async fn bundled(headers: HeaderMap) -> Response {
    let fixed = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/vnd.pmtiles"),
        ),
        (header::CACHE_CONTROL, A_DAY),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (
            header::ETAG,
            HeaderValue::from_static(concat!("\"malta-", env!("CARGO_PKG_VERSION"), "\"")),
        ),
    ];
    let Some(asked) = headers.get(header::RANGE) else {
        return (fixed, Bytes::from_static(BUNDLED)).into_response();
    };
    let total = BUNDLED.len();
    match asked
        .to_str()
        .ok()
        .and_then(|text| parse_range(text, total))
    {
        Some((first, last)) => {
            let range = format!("bytes {first}-{last}/{total}");
            let part = Bytes::from_static(&BUNDLED[first..=last]);
            (
                StatusCode::PARTIAL_CONTENT,
                fixed,
                [(header::CONTENT_RANGE, range)],
                part,
            )
                .into_response()
        }
        None => {
            let range = [(header::CONTENT_RANGE, format!("bytes */{total}"))];
            (StatusCode::RANGE_NOT_SATISFIABLE, range).into_response()
        }
    }
}

/// First and last byte of `bytes=a-b`, `bytes=a-` or `bytes=-n`, within `total`.
fn parse_range(text: &str, total: usize) -> Option<(usize, usize)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let end = total.checked_sub(1)?;
    let (first, last) = match (first.is_empty(), last.is_empty()) {
        (true, false) => (total.saturating_sub(last.parse().ok()?), end),
        (false, true) => (first.parse().ok()?, end),
        (false, false) => (first.parse().ok()?, last.parse::<usize>().ok()?.min(end)),
        (true, true) => return None,
    };
    (first <= last && first <= end).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ranges_as_the_rfc_has_them() {
        assert_eq!(parse_range("bytes=0-99", 1000), Some((0, 99)));
        assert_eq!(parse_range("bytes=900-", 1000), Some((900, 999)));
        assert_eq!(parse_range("bytes=-10", 1000), Some((990, 999)));
        assert_eq!(parse_range("bytes=0-9999", 1000), Some((0, 999)));
        for bad in [
            "bytes=5-1",
            "bytes=1000-",
            "bytes=-",
            "bytes=a-b",
            "lines=1-2",
            "bytes=-0",
        ] {
            assert_eq!(parse_range(bad, 1000), None, "{bad}");
        }
    }
}
