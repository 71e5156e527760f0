//! Which tracking links were looked at, when, and from which network.
//!
//! Invariants: noting a look never waits and never fails; looks are counted by link, hour, channel
//! and network, so that a page that asks every few seconds is one row an hour; what is noted is in
//! Postgres within [`WRITE_EVERY`], or when Postgres is back. At most [`MAX_ROWS`] wait, further ones
//! are counted as not noted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::domain::UnixMs;

/// Between two writes.
const WRITE_EVERY: Duration = Duration::from_secs(5);
/// Rows that may wait: 2 MiB.
const MAX_ROWS: usize = 20_000;
/// Rows of one statement.
const ROWS: usize = 2_000;
const HOUR_MS: i64 = 3_600_000;

/// How somebody looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkChannel {
    /// A WebSocket was opened.
    WebSocket,
    /// A stream of server-sent events was opened.
    Events,
    /// The state was asked for once.
    Poll,
}

impl LinkChannel {
    fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Events => "events",
            Self::Poll => "poll",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    link: Uuid,
    hour: i64,
    channel: LinkChannel,
    network: IpAddr,
}

#[derive(Debug, Clone, Copy)]
struct Looks {
    count: i64,
    first: UnixMs,
    last: UnixMs,
}

/// The looks that are not in Postgres yet.
#[derive(Debug, Default)]
pub struct LinkLog(Mutex<FxHashMap<Key, Looks>>);

impl LinkLog {
    /// Notes a look through `link` from `address`.
    pub fn note(&self, link: Uuid, channel: LinkChannel, address: IpAddr, now: UnixMs) {
        let key = Key {
            link,
            hour: now.0 - now.0.rem_euclid(HOUR_MS),
            channel,
            network: network_of(address),
        };
        let mut waiting = self.0.lock();
        if waiting.len() >= MAX_ROWS && !waiting.contains_key(&key) {
            tracing::warn!("more links are looked at than can be noted until Postgres is back");
            return;
        }
        let looks = waiting.entry(key).or_insert(Looks {
            count: 0,
            first: now,
            last: now,
        });
        looks.count += 1;
        looks.last = now;
    }

    /// Writes what was noted, until `stop`, and once more then.
    ///
    /// # Errors
    /// None: what cannot be written waits.
    pub async fn run(&self, pool: PgPool, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let stopping = stop
                .run_until_cancelled(tokio::time::sleep(WRITE_EVERY))
                .await
                .is_none();
            if let Err(error) = self.write(&pool).await {
                tracing::debug!(%error, "looks at links wait for Postgres");
            }
            if stopping {
                return Ok(());
            }
        }
    }

    /// Writes what was noted.
    ///
    /// # Errors
    /// Postgres's; nothing is lost then.
    pub async fn write(&self, pool: &PgPool) -> sqlx::Result<()> {
        loop {
            let part: Vec<(Key, Looks)> = {
                let mut waiting = self.0.lock();
                let keys: Vec<Key> = waiting.keys().take(ROWS).copied().collect();
                keys.into_iter()
                    .filter_map(|key| waiting.remove(&key).map(|looks| (key, looks)))
                    .collect()
            };
            if part.is_empty() {
                return Ok(());
            }
            if let Err(error) = insert(pool, &part).await {
                self.put_back(part);
                return Err(error);
            }
        }
    }

    fn put_back(&self, part: Vec<(Key, Looks)>) {
        let mut waiting = self.0.lock();
        for (key, looks) in part {
            waiting
                .entry(key)
                .and_modify(|newer| {
                    newer.count += looks.count;
                    newer.first = looks.first;
                })
                .or_insert(looks);
        }
    }
}

async fn insert(pool: &PgPool, part: &[(Key, Looks)]) -> sqlx::Result<()> {
    // A link that is gone meanwhile is no error.
    const INSERT: &str = "insert into dispatch.link_access as a \
           (link_id, hour, channel, network, looks, first_at, last_at) \
         select t.link, t.hour, t.channel, t.network::cidr, t.looks, t.first_at, t.last_at \
           from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::bigint[], \
                $6::timestamptz[], $7::timestamptz[]) \
                as t (link, hour, channel, network, looks, first_at, last_at) \
           join dispatch.tracking_link l on l.id = t.link \
         on conflict (link_id, hour, channel, network) do update \
            set looks = a.looks + excluded.looks, \
                first_at = least(a.first_at, excluded.first_at), \
                last_at = greatest(a.last_at, excluded.last_at)";
    let column = |at: fn(&Looks) -> UnixMs| -> Vec<OffsetDateTime> {
        part.iter()
            .map(|(_, looks)| at(looks).to_datetime())
            .collect()
    };
    let keys = || part.iter().map(|(key, _)| key);
    sqlx::query(INSERT)
        .bind(keys().map(|key| key.link).collect::<Vec<_>>())
        .bind(
            keys()
                .map(|key| UnixMs(key.hour).to_datetime())
                .collect::<Vec<_>>(),
        )
        .bind(keys().map(|key| key.channel.as_str()).collect::<Vec<_>>())
        .bind(keys().map(cidr).collect::<Vec<_>>())
        .bind(
            part.iter()
                .map(|(_, looks)| looks.count)
                .collect::<Vec<_>>(),
        )
        .bind(column(|looks| looks.first))
        .bind(column(|looks| looks.last))
        .execute(pool)
        .await?;
    Ok(())
}

/// The network that an address is in: enough to tell a home from an office, not a person from another.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & 0xffff_ff00).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (!0 << 80)).into(),
    }
}

fn cidr(key: &Key) -> String {
    let bits = if key.network.is_ipv4() { 24 } else { 48 };
    format!("{}/{bits}", key.network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_counted_by_hour_channel_and_network_and_bounded() {
        let log = LinkLog::default();
        let link = Uuid::from_u128(1);
        let from = |text: &str| text.parse::<IpAddr>().expect("an address");
        for (second, address) in [
            (0, "192.0.2.7"),
            (5, "192.0.2.99"),
            (10, "::ffff:192.0.2.1"),
        ] {
            log.note(
                link,
                LinkChannel::Poll,
                from(address),
                UnixMs(second * 1000),
            );
        }
        log.note(link, LinkChannel::Poll, from("2001:db8:1:2::3"), UnixMs(0));
        log.note(link, LinkChannel::Events, from("192.0.2.7"), UnixMs(0));
        log.note(link, LinkChannel::Poll, from("192.0.2.7"), UnixMs(HOUR_MS));
        {
            let waiting = log.0.lock();
            assert_eq!(waiting.len(), 4);
            let most = waiting
                .iter()
                .max_by_key(|(_, looks)| looks.count)
                .expect("some");
            assert_eq!((most.1.count, most.1.last), (3, UnixMs(10_000)));
            assert_eq!(cidr(most.0), "192.0.2.0/24");
            assert!(waiting.keys().any(|key| cidr(key) == "2001:db8:1::/48"));
        }
        for n in 0..2 * MAX_ROWS {
            log.note(
                Uuid::from_u128(n as u128),
                LinkChannel::Poll,
                from("::1"),
                UnixMs(0),
            );
        }
        assert_eq!(log.0.lock().len(), MAX_ROWS);
    }
}
