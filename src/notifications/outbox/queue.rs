//! The outbox of one webhook in Postgres: what is to be sent, and what became of it.

use std::sync::Arc;

use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgPool, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use super::super::event_json::{EVENT_COLUMNS, Event};
use super::lanes::{LaneName, Queued};
use super::sender::Called;
use crate::domain::UnixMs;

/// An event that is to be sent.
#[derive(Debug, Clone)]
pub(super) struct OutboxRow {
    pub(super) event_id: i64,
    pub(super) lane: LaneName,
    /// Failed attempts so far.
    pub(super) attempts: u32,
    pub(super) due_at: UnixMs,
    /// When it came into the outbox.
    pub(super) since: UnixMs,
    pub(super) event: Arc<Event>,
}

impl Queued for OutboxRow {
    fn event_id(&self) -> i64 {
        self.event_id
    }
    fn lane(&self) -> &LaneName {
        &self.lane
    }
    fn due_at(&self) -> UnixMs {
        self.due_at
    }
}

impl FromRow<'_, PgRow> for OutboxRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let due_at: Option<OffsetDateTime> = row.try_get("next_attempt_at")?;
        Ok(Self {
            event_id: row.try_get("id")?,
            lane: row.try_get::<&str, _>("lane")?.into(),
            attempts: u32::try_from(row.try_get::<i32, _>("attempts")?).unwrap_or_default(),
            due_at: due_at.map_or(UnixMs(i64::MIN), UnixMs::from_datetime),
            since: UnixMs::from_datetime(row.try_get("created_at")?),
            event: Arc::new(Event::from_row(row)?),
        })
    }
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered,
    /// To be tried again then.
    Retry(UnixMs),
    GaveUp,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry(_) => "failed",
            Self::GaveUp => "gave_up",
        }
    }
}

/// An attempt, to be recorded.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) event_id: i64,
    pub(super) event: Arc<Event>,
    pub(super) at: UnixMs,
    pub(super) duration_ms: i32,
    pub(super) called: Called,
    pub(super) outcome: Outcome,
}

/// One webhook's rows.
pub(super) struct Queue {
    pub(super) pool: PgPool,
    pub(super) webhook: Uuid,
}

impl Queue {
    /// The oldest rows that are neither `held` nor of a `cut` lane.
    pub(super) async fn load(
        &self,
        held: &[i64],
        cut: &[String],
        limit: i64,
    ) -> sqlx::Result<Vec<OutboxRow>> {
        sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "select o.lane, o.attempts, o.next_attempt_at, o.created_at, {EVENT_COLUMNS}
               from notifications.outbox o join public.event e on e.id = o.event_id
              where o.webhook_id = $1 and o.event_id <> all ($2) and o.lane <> all ($3)
              order by o.event_id limit $4"
        )))
        .bind(self.webhook)
        .bind(held)
        .bind(cut)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
    }

    /// Records attempts and what follows from them, together.
    pub(super) async fn settle(&self, attempts: &[Attempt]) -> sqlx::Result<()> {
        let next_at = |a: &Attempt| match a.outcome {
            Outcome::Retry(at) => Some(at.to_datetime()),
            _ => None,
        };
        sqlx::query(
            "with tried as (
                 select * from unnest($2::bigint[], $3::text[], $4::timestamptz[], $5::int[],
                                      $6::int[], $7::text[], $8::text[], $9::timestamptz[])
                     t (event_id, event_type, at, duration_ms, status, outcome, error, next_at)
             ), logged as (
                 insert into notifications.attempt (webhook_id, event_id, event_type, at,
                                                    duration_ms, status, outcome, error, next_at)
                 select $1, * from tried
             ), through as (
                 delete from notifications.outbox o using tried t
                  where o.webhook_id = $1 and o.event_id = t.event_id and t.outcome <> 'failed'
             )
             update notifications.outbox o
                set attempts = o.attempts + 1, next_attempt_at = t.next_at
               from tried t
              where o.webhook_id = $1 and o.event_id = t.event_id and t.outcome = 'failed'",
        )
        .bind(self.webhook)
        .bind(attempts.iter().map(|a| a.event_id).collect::<Vec<_>>())
        .bind(
            attempts
                .iter()
                .map(|a| a.event.kind.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(
            attempts
                .iter()
                .map(|a| a.at.to_datetime())
                .collect::<Vec<_>>(),
        )
        .bind(attempts.iter().map(|a| a.duration_ms).collect::<Vec<_>>())
        .bind(
            attempts
                .iter()
                .map(|a| a.called.status.map(i32::from))
                .collect::<Vec<_>>(),
        )
        .bind(
            attempts
                .iter()
                .map(|a| a.outcome.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(
            attempts
                .iter()
                .map(|a| a.called.error.as_deref())
                .collect::<Vec<_>>(),
        )
        .bind(attempts.iter().map(next_at).collect::<Vec<_>>())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Switches the webhook off.
    pub(super) async fn disable(&self, reason: &str) -> sqlx::Result<()> {
        sqlx::query(
            "update notifications.webhook
                set enabled = false, disabled_reason = $2, updated_at = now() where id = $1",
        )
        .bind(self.webhook)
        .bind(reason)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
