//! The basemap by parts: one large file of which a browser reads a little at a time.

use std::path::PathBuf;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::Embed;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::{Problem, static_web};
use crate::config::WebConfig;

#[derive(Embed)]
#[folder = "basemap"]
#[include = "*.pmtiles"]
struct Bundled;

const BUNDLED: &str = "malta.pmtiles";
/// Most bytes of one answer; a browser asks for some hundred kilobytes at a time.
const MAX_PART: u64 = 16 << 20;

/// Where the map comes from.
pub(super) enum Basemap {
    /// The bundled file.
    Bundled,
    /// A file of this installation.
    File(PathBuf),
    /// A style elsewhere.
    Style(String),
}

impl Basemap {
    pub(super) fn of(web: &WebConfig) -> Self {
        match (static_web::file_of(web), &web.basemap) {
            (Some(file), _) => Self::File(file),
            (None, Some(style)) => Self::Style(style.clone()),
            (None, None) => Self::Bundled,
        }
    }

    /// What pages ask for, and what it is.
    pub(super) fn url(&self) -> (String, &'static str) {
        match self {
            Self::Bundled => (format!("/basemap/{BUNDLED}"), "pmtiles"),
            Self::File(_) => match self.file_name() {
                Some(name) => (format!("/basemap/{name}"), "pmtiles"),
                None => (format!("/basemap/{BUNDLED}"), "pmtiles"),
            },
            Self::Style(url) if url.ends_with(".pmtiles") => (url.clone(), "pmtiles"),
            Self::Style(url) => (url.clone(), "style"),
        }
    }

    fn file_name(&self) -> Option<&str> {
        match self {
            Self::File(path) => path.file_name()?.to_str(),
            _ => None,
        }
    }
}

pub(super) async fn answer(basemap: &Basemap, file: &str, headers: &HeaderMap) -> Response {
    let asked = headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok());
    let answer = match basemap {
        Basemap::File(path) if basemap.file_name() == Some(file) => from_file(path, asked).await,
        _ if file == BUNDLED => from_bundle(asked),
        _ => Ok(None),
    };
    match answer {
        Ok(Some(response)) => response,
        Ok(None) => Problem::not_found("this map").into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot read the basemap");
            Problem::not_found("this map").into_response()
        }
    }
}

fn from_bundle(asked: Option<&str>) -> std::io::Result<Option<Response>> {
    let Some(map) = Bundled::get(BUNDLED) else {
        return Ok(None);
    };
    let length = map.data.len() as u64;
    let (start, end) = match part_of(asked, length) {
        Ok(part) => part,
        Err(refused) => return Ok(Some(*refused)),
    };
    let data = match map.data {
        std::borrow::Cow::Borrowed(data) => Bytes::from_static(data),
        std::borrow::Cow::Owned(data) => data.into(),
    };
    Ok(Some(part(
        data.slice(start as usize..end as usize),
        asked,
        start,
        length,
    )))
}

async fn from_file(path: &PathBuf, asked: Option<&str>) -> std::io::Result<Option<Response>> {
    let mut file = tokio::fs::File::open(path).await?;
    let length = file.metadata().await?.len();
    let (start, end) = match part_of(asked, length) {
        Ok(part) => part,
        Err(refused) => return Ok(Some(*refused)),
    };
    file.seek(std::io::SeekFrom::Start(start)).await?;
    let mut bytes = Vec::with_capacity((end - start) as usize);
    file.take(end - start).read_to_end(&mut bytes).await?;
    Ok(Some(part(bytes.into(), asked, start, length)))
}

/// First byte and the one after the last.
fn part_of(asked: Option<&str>, length: u64) -> Result<(u64, u64), Box<Response>> {
    let part = match asked.map(|asked| parse(asked, length)) {
        Some(Some((start, end))) => (start, end.min(start + MAX_PART)),
        None if length <= MAX_PART => (0, length),
        Some(None) | None => {
            let detail = format!(
                "ask for one part of at most {MAX_PART} bytes by the header Range: bytes=first-last; \
                 the file has {length} bytes"
            );
            let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "range", detail);
            let mut response = problem.into_response();
            if let Ok(range) = HeaderValue::try_from(format!("bytes */{length}")) {
                response.headers_mut().insert(header::CONTENT_RANGE, range);
            }
            return Err(Box::new(response));
        }
    };
    Ok(part)
}

/// One part, as in `bytes=0-16383`, `bytes=100-` or `bytes=-512`.
fn parse(asked: &str, length: u64) -> Option<(u64, u64)> {
    let (first, last) = asked.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = match (first.is_empty(), last.is_empty()) {
        (true, false) => (length.saturating_sub(last.parse().ok()?), length),
        (false, true) => (first.parse().ok()?, length),
        (false, false) => (
            first.parse().ok()?,
            last.parse::<u64>().ok()?.saturating_add(1),
        ),
        (true, true) => return None,
    };
    let end = end.min(length);
    (start < end).then_some((start, end))
}

fn part(bytes: Bytes, asked: Option<&str>, start: u64, length: u64) -> Response {
    let end = start + bytes.len() as u64;
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=86400"),
    );
    let tag = HeaderValue::try_from(format!("\"{length:x}\""));
    if let Ok(tag) = tag {
        headers.insert(header::ETAG, tag);
    }
    if asked.is_some() {
        let range = format!("bytes {start}-{}/{length}", end.saturating_sub(1));
        if let Ok(range) = HeaderValue::try_from(range) {
            headers.insert(header::CONTENT_RANGE, range);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn parts_stay_within_the_file() {
        assert_eq!(parse("bytes=0-9", 100), Some((0, 10)));
        assert_eq!(parse("bytes=90-", 100), Some((90, 100)));
        assert_eq!(parse("bytes=-5", 100), Some((95, 100)));
        assert_eq!(parse("bytes=-500", 100), Some((0, 100)));
        assert_eq!(parse("bytes=90-18446744073709551615", 100), Some((90, 100)));
        for bad in [
            "bytes=100-",
            "bytes=5-4",
            "bytes=-",
            "bytes=a-b",
            "lines=1-2",
            "bytes=0-1,3-4",
        ] {
            assert_eq!(parse(bad, 100), None, "{bad}");
        }
    }
}
