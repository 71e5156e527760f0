//! The stream over HTTP, for admins: how it stands, what is in it, and moving a group's place.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::audit;
use crate::analytics::{self, ResetError};
use crate::directory::Directory;
use crate::domain::{CourierId, FixBatch, UnixMs};
use crate::http::{ApiJson, ApiPath, ApiQuery, AsAdmin, Problem};
use crate::stream::advice::{Advice, advise};
use crate::stream::{
    GroupStatus, Log, LogError, Offset, Partition, SeekTo, StoredRecord, StreamEvent,
    TOPIC_DELIVERY_LOCATION, TopicStatus,
};

/// Most records one call answers.
const MAX_RECORDS: usize = 1_000;
/// Records answered where the caller does not say.
const USUAL_RECORDS: usize = 20;
/// A record that is there comes at once; the answer ends at one that does not come in this time.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the routes look at. Cheap to clone.
#[derive(Clone)]
pub(super) struct StreamRoutes {
    pub(super) log: Arc<dyn Log>,
    /// Whose records were erased.
    pub(super) directory: Arc<Directory>,
    /// Where changes are noted.
    pub(super) pool: PgPool,
}

impl StreamRoutes {
    /// `/v1/stream` and below.
    pub(super) fn routes(self) -> OpenApiRouter {
        OpenApiRouter::new()
            .routes(routes!(status))
            .routes(routes!(records))
            .routes(routes!(reset))
            .with_state(self)
    }

    /// Whether a record's courier was erased after it was received: nobody is given it any more.
    fn is_erased(&self, record: &StoredRecord) -> bool {
        let key = std::str::from_utf8(&record.key).ok();
        let courier = key.and_then(|key| CourierId::try_from(key).ok());
        let before = courier.and_then(|id| self.directory.erased_before(&id));
        before.is_some_and(|before| UnixMs(record.timestamp_ms) < before)
    }
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
    responses((status = 200, body = StreamStatus)),
    security(("api_key" = []), ("session" = [])))]
async fn status(
    _: AsAdmin,
    State(StreamRoutes { log, .. }): State<StreamRoutes>,
) -> Result<Json<StreamStatus>, Problem> {
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

/// Records of a topic, decoded; without those that were erased
#[utoipa::path(get, path = "/v1/stream/{topic}/records", tag = "operation",
    params(("topic" = String, Path), Tail), responses((status = 200, body = Records)),
    security(("api_key" = []), ("session" = [])))]
async fn records(
    _: AsAdmin,
    State(stream): State<StreamRoutes>,
    ApiPath(topic): ApiPath<String>,
    ApiQuery(tail): ApiQuery<Tail>,
) -> Result<Json<Records>, Problem> {
    let log = &stream.log;
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
        let end = Offset(partition.durable_offset);
        let number = Partition(partition.partition);
        let read = read_some(&**log, &topic, number, start, limit, end).await?;
        found.extend(read.into_iter().map(|record| (partition.partition, record)));
    }
    if !any {
        return Err(Problem::not_found("that partition"));
    }
    found.retain(|(_, record)| !stream.is_erased(record));
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

/// Up to `limit` records of a partition from `start` on, none beyond `end`.
async fn read_some(
    log: &dyn Log,
    topic: &str,
    partition: Partition,
    start: SeekTo,
    limit: usize,
    end: Offset,
) -> Result<Vec<StoredRecord>, Problem> {
    let reader = log.reader(topic, &[partition], start).await;
    let mut reader = reader.map_err(problem)?;
    let mut next = reader.seek(partition, start).await.map_err(problem)?;
    let mut read = Vec::new();
    while read.len() < limit && next < end {
        match reader.poll(PATIENCE).await {
            Ok(StreamEvent::Records { records, .. }) => {
                next = records.last().map_or(end, |last| last.offset.advance(1));
                read.extend(records);
            }
            Ok(StreamEvent::OffsetLost { to, .. }) => next = to,
            Ok(StreamEvent::Idle) => break,
            Ok(_) => {}
            Err(error) => return Err(Problem::unavailable(error.to_string(), 5)),
        }
    }
    reader.close(PATIENCE).await;
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

/// Moves a group's place: of an idle group, or of `analytics` while it runs
#[utoipa::path(post, path = "/v1/stream/groups/{group}/reset", tag = "operation",
    params(("group" = String, Path)), request_body = Reset,
    responses((status = 200, body = ResetDone), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
async fn reset(
    AsAdmin(staff): AsAdmin,
    State(StreamRoutes { log, pool, .. }): State<StreamRoutes>,
    ApiPath(group): ApiPath<String>,
    ApiJson(reset): ApiJson<Reset>,
) -> Result<Json<ResetDone>, Problem> {
    let topic = reset.topic.as_deref().unwrap_or(TOPIC_DELIVERY_LOCATION);
    let to = parse_seek(&reset.to)?;
    let partitions = log
        .partitions(topic)
        .map_err(|_| Problem::not_found("that topic"))?;
    let wanted = (0..partitions).filter(|p| reset.partition.is_none_or(|only| only == *p));
    let in_postgres = group == analytics::GROUP && topic == TOPIC_DELIVERY_LOCATION;
    let mut committed = Vec::new();
    for partition in wanted.map(Partition) {
        let moved = if in_postgres {
            analytics::reset(&*log, &pool, partition, to)
                .await
                .map_err(not_moved)?
        } else {
            let moved = log.reset_group(topic, &group, partition, to).await;
            moved.map_err(|error| Problem::conflict("group_busy", error.to_string()))?
        };
        committed.push((partition.0, moved.0));
    }
    if committed.is_empty() {
        return Err(Problem::not_found("that partition"));
    }
    let detail = serde_json::json!({"topic": topic, "to": reset.to, "partition": reset.partition});
    // The stream may be looked after while Postgres is away.
    if let Err(error) = audit(&pool, staff.actor(), "group.reset", &group, detail).await {
        tracing::warn!(%error, group, "the audit log does not tell of this reset");
    }
    Ok(Json(ResetDone { committed }))
}

fn not_moved(error: ResetError) -> Problem {
    match error {
        ResetError::Log(error) => problem(error),
        ResetError::Database(error) => error.into(),
    }
}

fn problem(error: LogError) -> Problem {
    tracing::error!(%error, "cannot look at the stream");
    Problem::unavailable(
        "the log cannot be looked at now; its error is in the server's log",
        5,
    )
}
