//! What rules have told, as it was recorded, and who is told.

use sqlx::{FromRow, PgPool, Row};

use super::difference::{Happening, SAME_WITHIN_MS};
use super::plan::{Plan, Source};
use super::report::{Webhook, unknown_to};
use super::rerun::MAX_TOLD;
use crate::domain::{EventType, Position};
use crate::notifications::event_json::{EVENT_COLUMNS, Event};

/// Rules' events of the time that is tried, and those shortly before.
pub(super) async fn load(
    pool: &PgPool,
    plan: &Plan,
    source: Source,
) -> anyhow::Result<Vec<Happening>> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {EVENT_COLUMNS} from public.event e
          where e.at >= $1 and e.at < $2 and e.evidence ? 'rule'
            and ($3::text is null or e.courier_id = $3)
          order by e.id limit $4"
    )))
    .bind(plan.from.plus_ms(-SAME_WITHIN_MS).to_datetime())
    .bind(plan.to.to_datetime())
    .bind(plan.courier.as_ref().map(AsRef::<str>::as_ref))
    .bind(MAX_TOLD as i64 + 1)
    .fetch_all(pool)
    .await?;
    anyhow::ensure!(
        rows.len() <= MAX_TOLD,
        "more than {MAX_TOLD} events were told in this time: choose a shorter one, or one courier"
    );
    let events: sqlx::Result<Vec<Event>> = rows.iter().map(Event::from_row).collect();
    Ok(known_to(source, events?.into_iter().map(Into::into)))
}

/// Those that can be judged by what `source` holds.
pub(super) fn known_to(source: Source, all: impl Iterator<Item = Happening>) -> Vec<Happening> {
    let unknown = unknown_to(source);
    let known =
        |one: &Happening| EventType::parse(&one.kind).is_none_or(|kind| !unknown.contains(&kind));
    all.filter(known).collect()
}

impl From<Event> for Happening {
    fn from(event: Event) -> Self {
        let position = event.position;
        Self {
            kind: event.kind,
            at: event.at,
            courier: event.courier_id,
            delivery: event.delivery_id,
            geofence: event.geofence_id,
            position: position.and_then(|p| Position::from_degrees(p.lat, p.lon).ok()),
            evidence: event.evidence,
            id: Some(event.id),
        }
    }
}

/// The webhooks that are switched on.
pub(super) async fn webhooks(pool: &PgPool) -> anyhow::Result<Vec<Webhook>> {
    let rows = sqlx::query(
        "select id, url, events from notifications.webhook where enabled order by created_at, id",
    )
    .fetch_all(pool)
    .await?;
    let webhook = |row: &sqlx::postgres::PgRow| {
        let patterns: Vec<String> = row.try_get("events")?;
        Ok(Webhook {
            id: row.try_get("id")?,
            url: row.try_get("url")?,
            patterns: patterns.iter().filter_map(|p| p.parse().ok()).collect(),
        })
    };
    rows.iter().map(webhook).collect()
}
