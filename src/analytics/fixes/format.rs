//! The formats of an export, and what each is called on the wire.

use axum::body::Bytes;

use super::parquet::ParquetWriter;
use super::text::TextWriter;
use crate::domain::{CourierId, Fix};
use crate::http::Problem;

/// What an export may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::analytics) enum Format {
    /// `{"items":[…],"next_cursor":null}`.
    Json,
    /// With a header, RFC 4180.
    Csv,
    /// GPX 1.1: a track a courier.
    Gpx,
    /// A FeatureCollection of points, RFC 7946.
    GeoJson,
    /// GeoParquet 1.1, zstd.
    Parquet,
}

impl Format {
    const ALL: [Self; 5] = [
        Self::Json,
        Self::Csv,
        Self::Gpx,
        Self::GeoJson,
        Self::Parquet,
    ];

    /// From the word in the query; without one, `usual`.
    pub(in crate::analytics) fn parse(word: Option<&str>, usual: Self) -> Result<Self, Problem> {
        let Some(word) = word.filter(|word| !word.is_empty()) else {
            return Ok(usual);
        };
        let known = Self::ALL.into_iter().find(|format| format.word() == word);
        known.ok_or_else(|| Problem::invalid("`format` must be json, csv, gpx, geojson or parquet"))
    }

    /// The word in the query, and the extension of a file.
    pub(in crate::analytics) fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Gpx => "gpx",
            Self::GeoJson => "geojson",
            Self::Parquet => "parquet",
        }
    }

    pub(in crate::analytics) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Gpx => "application/gpx+xml",
            Self::GeoJson => "application/geo+json",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

/// Writes fixes into a buffer that is taken from time to time.
pub(super) enum Writer {
    Text(TextWriter),
    Parquet(Box<ParquetWriter>),
}

impl Writer {
    pub(super) fn new(format: Format) -> Result<Self, std::io::Error> {
        Ok(match format {
            Format::Parquet => Self::Parquet(Box::new(ParquetWriter::new()?)),
            text => Self::Text(TextWriter::new(text)),
        })
    }

    /// Adds fixes of a courier, which follow on its earlier ones.
    pub(super) fn write(
        &mut self,
        courier: &CourierId,
        fixes: &[Fix],
    ) -> Result<(), std::io::Error> {
        match self {
            Self::Text(text) => text.write(courier, fixes),
            Self::Parquet(parquet) => parquet.write(courier, fixes)?,
        }
        Ok(())
    }

    /// The last bytes.
    pub(super) fn finish(&mut self) -> Result<(), std::io::Error> {
        match self {
            Self::Text(text) => text.finish(),
            Self::Parquet(parquet) => parquet.finish()?,
        }
        Ok(())
    }

    /// Bytes waiting to be taken.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Parquet(parquet) => parquet.len(),
        }
    }

    /// Takes the bytes so far.
    pub(super) fn take(&mut self) -> Bytes {
        match self {
            Self::Text(text) => text.take(),
            Self::Parquet(parquet) => parquet.take(),
        }
    }
}
