//! The stream over HTTP, for admins: how it stands, what is in it, and moving a group's place.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{FixBatch, UnixMs};
use crate::http::{ApiJson, AsAdmin, Problem};
use crate::stream::advice::{Advice, advise};
use crate::stream::{
    Consumer, GroupStatus, Log, LogError, Offset, Partition, SeekTo, StoredRecord, StreamEvent,
    TOPIC_DELIVERY_LOCATION, TopicStatus,
};

/// Most records one call answers.
const MAX_RECORDS: usize = 1_000;
/// Records answered where the caller does not say.
const USUAL_RECORDS: usize = 20;
/// A partition that has nothing for this long has been read to its end.
const QUIET: Duration = Duration::from_millis(50);

type Shared = Arc<dyn Log>;

/// `/v1/stream` and below.
pub(super) fn routes(log: Shared) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(records))
        .routes(routes!(reset))
        .with_state(log)
}

/// The stream as it stands.
#[derive(Serialize, ToSchema)]
struct StreamStatus {
    /// Topics with their partitions.
    #[schema(value_type = Vec<Object>)]
    topics: Vec<TopicStatus>,
    /// Consumer groups with members, committed offsets and lag.
    #[schema(value_type = Vec<Object>)]
    groups: Vec<GroupStatus>,
    /// What is wrong with them, and what to do; empty if all is well.
    #[schema(value_type = Vec<Object>)]
    advice: Vec<Advice>,
}

/// Topics, partitions and consumer groups
#[utoipa::path(get, path = "/v1/stream", tag = "operation",
    responses((status = 200, body = StreamStatus)))]
async fn status(_: AsAdmin, State(log): State<Shared>) -> Result<Json<StreamStatus>, Problem> {
    let topics = log.topics().await.map_err(problem)?;
    let groups = log.groups().await.map_err(problem)?;
    let advice = advise(&topics, &groups);
    Ok(Json(StreamStatus {
        topics,
        groups,
        advice,
    }))
}

#[derive(Deserialize, IntoParams)]
struct Tail {
    /// Only this partition; without it, all.
    partition: Option<u32>,
    /// `earliest`, an offset, or an RFC 3339 time; without it, the newest records.
    from: Option<String>,
    /// Most records to answer, up to 1,000.
    limit: Option<usize>,
}

/// One record, decoded.
#[derive(Serialize, ToSchema)]
struct RecordView {
    partition: u32,
    offset: u64,
    #[schema(value_type = String)]
    received_at: UnixMs,
    key: String,
    bytes: usize,
    /// Decoded, where the value is a FixBatch.
    #[serde(skip_serializing_if = "Option::is_none")]
    fixes: Option<Vec<FixView>>,
    /// The value as text, where it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct FixView {
    #[schema(value_type = String)]
    fix_time: UnixMs,
    lat: f64,
    lon: f64,
    accuracy_m: Option<f32>,
    speed_mps: Option<f32>,
    heading_deg: Option<f32>,
}

#[derive(Serialize, ToSchema)]
struct Records {
    items: Vec<RecordView>,
}

/// Records of a topic, decoded
#[utoipa::path(get, path = "/v1/stream/{topic}/records", tag = "operation",
    params(("topic" = String, Path), Tail), responses((status = 200, body = Records)))]
async fn records(
    _: AsAdmin,
    State(log): State<Shared>,
    Path(topic): Path<String>,
    Query(tail): Query<Tail>,
) -> Result<Json<Records>, Problem> {
    let topics = log.topics().await.map_err(problem)?;
    let known = topics.into_iter().find(|t| t.topic == topic);
    let known = known.ok_or_else(|| Problem::not_found("that topic"))?;
    let limit = tail.limit.unwrap_or(USUAL_RECORDS).clamp(1, MAX_RECORDS);
    let wanted = known
        .partitions
        .iter()
        .filter(|p| tail.partition.is_none_or(|wanted| wanted == p.partition));
    let mut found: Vec<(u32, StoredRecord)> = Vec::new();
    let mut any = false;
    for partition in wanted {
        any = true;
        let start = match tail.from.as_deref() {
            Some(text) => parse_seek(text)?,
            // The newest few: offsets are dense but for repaired holes.
            None => SeekTo::Offset(Offset(
                partition
                    .durable_offset
                    .saturating_sub(limit as u64)
                    .max(partition.log_start_offset),
            )),
        };
        let only = [Partition(partition.partition)];
        let reader = log.reader(&topic, &only, start).await.map_err(problem)?;
        let read = read_some(reader, limit, Offset(partition.durable_offset)).await?;
        found.extend(read.into_iter().map(|record| (partition.partition, record)));
    }
    if !any {
        return Err(Problem::not_found("that partition"));
    }
    found.sort_by_key(|(partition, record)| (record.timestamp_ms, *partition, record.offset));
    let keep = if tail.from.is_some() {
        0
    } else {
        found.len().saturating_sub(limit)
    };
    let items = found.into_iter().skip(keep).take(limit);
    Ok(Json(Records {
        items: items.map(|(p, r)| view(&topic, p, &r)).collect(),
    }))
}

async fn read_some(
    mut reader: Box<dyn Consumer>,
    limit: usize,
    end: Offset,
) -> Result<Vec<StoredRecord>, Problem> {
    let mut read = Vec::new();
    while read.len() < limit
        && read
            .last()
            .is_none_or(|r: &StoredRecord| r.offset.advance(1) < end)
    {
        match reader.poll(QUIET).await {
            Ok(StreamEvent::Records { records, .. }) => read.extend(records),
            Ok(StreamEvent::Idle) => break,
            Ok(_) => {}
            Err(error) => return Err(Problem::unavailable(error.to_string(), 5)),
        }
    }
    reader.close(QUIET).await;
    read.truncate(limit);
    Ok(read)
}

fn view(topic: &str, partition: u32, record: &StoredRecord) -> RecordView {
    let batch = (topic == TOPIC_DELIVERY_LOCATION).then(|| FixBatch::decode(&record.value));
    let fixes = batch.and_then(Result::ok).map(|batch| {
        batch
            .fixes
            .iter()
            .map(|fix| FixView {
                fix_time: fix.fix_time,
                lat: fix.position.lat(),
                lon: fix.position.lon(),
                accuracy_m: fix.accuracy_m,
                speed_mps: fix.speed_mps,
                heading_deg: fix.heading_deg,
            })
            .collect()
    });
    let text = fixes
        .is_none()
        .then(|| String::from_utf8_lossy(&record.value).into_owned());
    RecordView {
        partition,
        offset: record.offset.0,
        received_at: UnixMs(record.timestamp_ms),
        key: String::from_utf8_lossy(&record.key).into_owned(),
        bytes: record.value.len(),
        fixes,
        text,
    }
}

fn parse_seek(text: &str) -> Result<SeekTo, Problem> {
    match text {
        "earliest" => return Ok(SeekTo::Earliest),
        "latest" => return Ok(SeekTo::Latest),
        _ => {}
    }
    if let Ok(offset) = text.parse() {
        return Ok(SeekTo::Offset(Offset(offset)));
    }
    UnixMs::parse_rfc3339(text)
        .map(|at| SeekTo::TimestampMs(at.0))
        .map_err(|_| {
            Problem::invalid(
                "give earliest, latest, an offset, or a time as in 2026-11-22T10:00:00Z",
            )
        })
}

#[derive(Deserialize, ToSchema)]
struct Reset {
    /// The topic; delivery-location where it is left out.
    topic: Option<String>,
    /// `earliest`, `latest`, an offset, or an RFC 3339 time.
    to: String,
    /// Only this partition; without it, all.
    partition: Option<u32>,
}

#[derive(Serialize, ToSchema)]
struct ResetDone {
    /// Partition and the offset that is read next.
    committed: Vec<(u32, u64)>,
}

/// Moves an idle group's committed offsets
#[utoipa::path(post, path = "/v1/stream/groups/{group}/reset", tag = "operation",
    params(("group" = String, Path)), request_body = Reset,
    responses((status = 200, body = ResetDone), (status = 409, body = Problem)))]
async fn reset(
    _: AsAdmin,
    State(log): State<Shared>,
    Path(group): Path<String>,
    ApiJson(reset): ApiJson<Reset>,
) -> Result<Json<ResetDone>, Problem> {
    let topic = reset.topic.as_deref().unwrap_or(TOPIC_DELIVERY_LOCATION);
    let to = parse_seek(&reset.to)?;
    let partitions = log.partitions(topic).map_err(problem)?;
    let mut committed = Vec::new();
    for partition in (0..partitions).filter(|p| reset.partition.is_none_or(|only| only == *p)) {
        let moved = log
            .reset_group(topic, &group, Partition(partition), to)
            .await;
        let moved = moved.map_err(|error| Problem::conflict("group_busy", error.to_string()))?;
        committed.push((partition, moved.0));
    }
    Ok(Json(ResetDone { committed }))
}

fn problem(error: LogError) -> Problem {
    tracing::error!(%error, "cannot look at the stream");
    Problem::unavailable(
        "the log cannot be looked at now; its error is in the server's log",
        5,
    )
}
