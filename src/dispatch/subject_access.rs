//! Everything that is held about a courier, as one ZIP file for that person.
//!
//! Written while it is read: memory does not grow with the length of the tracks. An error in the
//! middle breaks the connection off, so that half a file is never taken for a whole one.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::mpsc;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::Dispatch;
use super::erasure::must_be_known;
use crate::domain::CourierId;
use crate::http::{ApiPath, AsAdmin, Problem};

/// Exports at once; each holds a connection to Postgres.
pub(super) const AT_ONCE: usize = 2;
/// Text is handed on in pieces of this size, bytes.
const PIECE: usize = 32 * 1024;
/// Pieces that may wait for a slow reader, on either side of the compression.
const WAITING: usize = 4;
/// A reader that takes nothing for this long has gone.
const STALLED: Duration = Duration::from_secs(60);

const README: &str = "Everything that this installation holds about one courier.\n\n\
    courier.ndjson     the courier's record\n\
    devices.ndjson     phones (tokens are stored as hashes only and are not in here)\n\
    deliveries.ndjson  deliveries, without what they say about customers\n\
    positions.csv      every stored fix; times are UTC, latitude and longitude WGS 84 degrees\n\
    trips.ndjson       trips found in them\n\
    stops.ndjson       stays found in them\n\
    events.ndjson      what happened\n\
    changes.ndjson     who changed something about the courier\n\n\
    A file in NDJSON has one JSON object a line. Positions of the last few seconds may be missing.\n";

/// Name of a file, its first line, and the query that gives its lines.
const FILES: &[(&str, &str, &str)] = &[
    (
        "courier.ndjson",
        "",
        "select to_jsonb(c)::text from dispatch.courier c where id = $1",
    ),
    (
        "devices.ndjson",
        "",
        "select (to_jsonb(d) - 'token_hash')::text from dispatch.device d where courier_id = $1 \
         order by created_at",
    ),
    (
        "deliveries.ndjson",
        "",
        "select to_jsonb(d)::text from public.delivery d where courier_id = $1 order by created_at",
    ),
    (
        "positions.csv",
        "fix_time,lat,lon,accuracy_m,speed_mps,heading_deg,altitude_m,battery_pct\n",
        "select concat(to_char(fix_time at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), ',', \
                lat, ',', lon, ',', accuracy_m, ',', speed_mps, ',', heading_deg, ',', altitude_m, \
                ',', battery_pct) \
           from public.fix where courier_id = $1",
    ),
    (
        "trips.ndjson",
        "",
        "select to_jsonb(t)::text from public.trip t where courier_id = $1 order by start_time",
    ),
    (
        "stops.ndjson",
        "",
        "select to_jsonb(s)::text from public.stop s where courier_id = $1 order by start_time",
    ),
    (
        "events.ndjson",
        "",
        "select (to_jsonb(e) - 'xid' - 'dedupe_key')::text from public.event e where courier_id = $1 \
         order by id",
    ),
    (
        "changes.ndjson",
        "",
        "select to_jsonb(a)::text from dispatch.audit a where subject = $1 order by id",
    ),
];

enum Piece {
    File(&'static str),
    Text(String),
    /// Everything was read.
    End,
}

/// Get everything that is held about a courier, as a ZIP file.
#[utoipa::path(get, path = "/v1/couriers/{id}/data", tag = "couriers",
    params(("id" = String, Path)),
    responses((status = 200, content_type = "application/zip"), (status = 404, body = Problem),
        (status = 429, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn courier(
    State(dispatch): State<Dispatch>,
    AsAdmin(staff): AsAdmin,
    ApiPath(courier): ApiPath<CourierId>,
) -> Result<Response, Problem> {
    let place = dispatch.inner.exports.clone().try_acquire_owned();
    let place = place.map_err(|_| {
        Problem::too_many(
            "other exports are being written; wait until they are done",
            30,
        )
    })?;
    let mut change = dispatch.change(&staff).await?;
    must_be_known(change.sql(), &courier).await?;
    change
        .audit("courier.export", courier.as_str(), json!({}))
        .await?;
    change.commit().await?;

    let (pieces, to_pack) = mpsc::channel::<Piece>(WAITING);
    let (packed, body) = mpsc::channel::<io::Result<Bytes>>(WAITING);
    let (pool, id) = (dispatch.pool().clone(), courier.clone());
    tokio::spawn(async move {
        if let Err(error) = read(&pool, &id, &pieces).await {
            // The packer sees no end, and breaks the answer off.
            tracing::warn!("an export was broken off: {error:#}");
        }
        drop(place);
    });
    tokio::task::spawn_blocking(move || {
        let failed = packed.clone();
        if let Err(error) = pack(to_pack, Packed(packed)) {
            drop(failed.blocking_send(Err(error)));
        }
    });
    let chunks = stream::unfold(body, |mut body| async {
        body.recv().await.map(|chunk| (chunk, body))
    })
    .fuse();
    let name = format!("attachment; filename=\"courier-{courier}.zip\"");
    let headers = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (header::CONTENT_DISPOSITION, name),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

async fn read(pool: &PgPool, courier: &CourierId, to: &mpsc::Sender<Piece>) -> anyhow::Result<()> {
    let send = async |piece| {
        let sent = to.send_timeout(piece, STALLED).await;
        sent.map_err(|_| anyhow::anyhow!("the reader has gone"))
    };
    send(Piece::File("README.txt")).await?;
    send(Piece::Text(README.to_owned())).await?;
    for (name, first_line, query) in FILES {
        send(Piece::File(name)).await?;
        let mut text = (*first_line).to_owned();
        let mut lines = sqlx::query_scalar::<_, String>(*query)
            .bind(courier.as_str())
            .fetch(pool);
        while let Some(line) = lines.try_next().await.with_context(|| *name)? {
            text.push_str(&line);
            text.push('\n');
            if text.len() >= PIECE {
                send(Piece::Text(std::mem::take(&mut text))).await?;
            }
        }
        send(Piece::Text(text)).await?;
    }
    send(Piece::End).await
}

fn pack(mut pieces: mpsc::Receiver<Piece>, to: Packed) -> io::Result<()> {
    let mut zip = ZipWriter::new_stream(to);
    // Files beyond 4 GiB are a courier's right as well.
    let options = SimpleFileOptions::default().large_file(true);
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::File(name) => zip.start_file(name, options)?,
            Piece::Text(text) => zip.write_all(text.as_bytes())?,
            Piece::End => return zip.finish()?.into_inner().flush(),
        }
    }
    Err(io::Error::other("reading ended early"))
}

/// Where the packed bytes go.
struct Packed(mpsc::Sender<io::Result<Bytes>>);

impl Write for Packed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let chunk = Bytes::copy_from_slice(bytes);
        let sent = self.0.blocking_send(Ok(chunk));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
