//! `directory.snap`: the Directory as a file, for a start while Postgres is away.
//!
//! Format: magic `WLDS`, format version u32, then entries, each a u32 length and an [`Entry`] in
//! postcard, then a length of 0 and the CRC-32C u32 of all bytes before it; integers little-endian.
//! Written to a temporary file, synced, renamed, and the folder synced: a reader finds the old one or
//! the new one, whole. Readable by its owner alone. Secrets are in it as hashes only.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ApiKey, Device, Directory, Link, Role, Session, TokenHash};
use crate::domain::{
    Courier, CourierId, Delivery, DeliveryId, DeliveryStatus, Geofence, GeofenceEvent, GeofenceId,
    Place, Position, Shape, SpeedUnit, TimelineEntry, UnixMs, Vehicle, Window,
};

const MAGIC: &[u8; 4] = b"WLDS";
const VERSION: u32 = 1;
/// No entry is longer than this, not even the largest polygon.
const MAX_ENTRY_BYTES: usize = 4 << 20;

type E7 = (i32, i32);

#[derive(Serialize, Deserialize)]
enum Entry {
    Courier {
        id: CourierId,
        name: Option<Box<str>>,
        vehicle: Option<Vehicle>,
        tags: Box<[Box<str>]>,
        on_duty: bool,
    },
    Device {
        id: Uuid,
        courier_id: CourierId,
        speed_unit: SpeedUnit,
        token_hash: TokenHash,
    },
    Delivery {
        id: DeliveryId,
        courier_id: Option<CourierId>,
        status: DeliveryStatus,
        sequence: i32,
        pickup: (E7, Option<Box<str>>),
        dropoff: (E7, Option<Box<str>>),
        window: Option<(i64, i64)>,
        timeline: Vec<(DeliveryStatus, i64)>,
        reference: Option<Box<str>>,
        tags: Box<[Box<str>]>,
        version: i64,
    },
    Link {
        id: Uuid,
        delivery_id: DeliveryId,
        expires_at: i64,
        token_hash: TokenHash,
    },
    Geofence {
        id: GeofenceId,
        name: Box<str>,
        shape: Area,
        dwell_s: Option<u32>,
        events: Box<[GeofenceEvent]>,
        version: i64,
    },
    ApiKey {
        id: Uuid,
        name: Option<Box<str>>,
        role: Role,
        key_hash: TokenHash,
    },
    Session {
        id: Uuid,
        role: Role,
        name: Box<str>,
        expires_at: i64,
        token_hash: TokenHash,
        admin_mark: Option<TokenHash>,
    },
    Erased {
        courier_id: CourierId,
        before: i64,
    },
}

#[derive(Serialize, Deserialize)]
enum Area {
    Circle(E7, f64),
    Polygon(Vec<Vec<E7>>),
}

fn e7(position: Position) -> E7 {
    (position.lat_e7(), position.lon_e7())
}

fn position((lat, lon): E7) -> anyhow::Result<Position> {
    Ok(Position::from_e7(lat.into(), lon.into())?)
}

/// Writes all of `directory` to `path`.
pub(super) fn write(path: &Path, directory: &Directory) -> anyhow::Result<()> {
    let temporary = path.with_extension("snap.tmp");
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary);
    let file = file.with_context(|| format!("create {}", temporary.display()))?;
    let mut out = Summed {
        inner: BufWriter::new(file),
        crc: 0,
    };
    out.write_all(MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    for courier in directory.couriers.all() {
        out.entry(&of_courier(&courier))?;
    }
    for device in directory.devices.by_id.all() {
        out.entry(&of_device(&device))?;
    }
    for delivery in directory.deliveries.all() {
        out.entry(&of_delivery(&delivery))?;
    }
    for link in directory.links.by_id.all() {
        out.entry(&of_link(&link))?;
    }
    for geofence in directory.geofences.all() {
        out.entry(&of_geofence(&geofence))?;
    }
    for key in directory.api_keys.by_id.all() {
        out.entry(&of_api_key(&key))?;
    }
    for session in directory.sessions.by_id.all() {
        out.entry(&of_session(&session))?;
    }
    let erased: Vec<_> = directory.erased.read().clone().into_iter().collect();
    for (courier_id, before) in erased {
        out.entry(&Entry::Erased {
            courier_id,
            before: before.0,
        })?;
    }
    out.write_all(&0_u32.to_le_bytes())?;
    let crc = out.crc;
    out.write_all(&crc.to_le_bytes())?;
    let file = out.inner.into_inner().map_err(|error| error.into_error())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    let folder = path.parent().context("a folder")?;
    File::open(folder)?.sync_all()?;
    Ok(())
}

/// Puts what `path` holds into `directory`; answers whether there is such a file.
pub(super) fn restore(path: &Path, directory: &Directory) -> anyhow::Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    let mut from = Summed {
        inner: BufReader::new(file),
        crc: 0,
    };
    let mut magic = [0; 4];
    from.read_exact(&mut magic)?;
    ensure!(magic == *MAGIC, "not a directory snapshot");
    let version = from.number()?;
    ensure!(
        version == VERSION,
        "format version {version}, this program reads {VERSION}"
    );
    let mut entries = Vec::new();
    let mut bytes = Vec::new();
    loop {
        let length = from.number()? as usize;
        if length == 0 {
            break;
        }
        ensure!(length <= MAX_ENTRY_BYTES, "an entry of {length} bytes");
        bytes.resize(length, 0);
        from.read_exact(&mut bytes)?;
        entries.push(postcard::from_bytes::<Entry>(&bytes).context("an entry")?);
    }
    let crc = from.crc;
    if from.number()? != crc {
        bail!("the checksum does not match: the file is damaged");
    }
    for entry in entries {
        put(directory, entry)?;
    }
    Ok(true)
}

fn of_courier(courier: &Courier) -> Entry {
    Entry::Courier {
        id: courier.id.clone(),
        name: courier.name.clone(),
        vehicle: courier.vehicle,
        tags: courier.tags.clone(),
        on_duty: courier.on_duty,
    }
}

fn of_device(device: &Device) -> Entry {
    Entry::Device {
        id: device.id,
        courier_id: device.courier_id.clone(),
        speed_unit: device.speed_unit,
        token_hash: device.token_hash,
    }
}

fn of_delivery(delivery: &Delivery) -> Entry {
    let place = |place: &Place| (e7(place.position), place.label.clone());
    Entry::Delivery {
        id: delivery.id.clone(),
        courier_id: delivery.courier_id.clone(),
        status: delivery.status,
        sequence: delivery.sequence,
        pickup: place(&delivery.pickup),
        dropoff: place(&delivery.dropoff),
        window: delivery.window.map(|w| (w.from.0, w.to.0)),
        timeline: delivery
            .timeline
            .iter()
            .map(|step| (step.status, step.at.0))
            .collect(),
        reference: delivery.reference.clone(),
        tags: delivery.tags.clone(),
        version: delivery.version,
    }
}

fn of_link(link: &Link) -> Entry {
    Entry::Link {
        id: link.id,
        delivery_id: link.delivery_id.clone(),
        expires_at: link.expires_at.0,
        token_hash: link.token_hash,
    }
}

fn of_geofence(geofence: &Geofence) -> Entry {
    let shape = match &geofence.shape {
        Shape::Circle { center, radius_m } => Area::Circle(e7(*center), *radius_m),
        Shape::Polygon { rings } => Area::Polygon(
            rings
                .iter()
                .map(|ring| ring.iter().map(|p| e7(*p)).collect())
                .collect(),
        ),
    };
    Entry::Geofence {
        id: geofence.id.clone(),
        name: geofence.name.clone(),
        shape,
        dwell_s: geofence.dwell_s,
        events: geofence.events.clone(),
        version: geofence.version,
    }
}

fn of_api_key(key: &ApiKey) -> Entry {
    Entry::ApiKey {
        id: key.id,
        name: key.name.clone(),
        role: key.role,
        key_hash: key.key_hash,
    }
}

fn of_session(session: &Session) -> Entry {
    Entry::Session {
        id: session.id,
        role: session.role,
        name: session.name.clone(),
        expires_at: session.expires_at.0,
        token_hash: session.token_hash,
        admin_mark: session.admin_mark,
    }
}

fn put(directory: &Directory, entry: Entry) -> anyhow::Result<()> {
    match entry {
        Entry::Courier {
            id,
            name,
            vehicle,
            tags,
            on_duty,
        } => {
            directory.set_courier(Courier {
                id,
                name,
                vehicle,
                tags,
                on_duty,
            });
        }
        Entry::Device {
            id,
            courier_id,
            speed_unit,
            token_hash,
        } => {
            directory.set_device(Device {
                id,
                courier_id,
                speed_unit,
                token_hash,
            });
        }
        Entry::Delivery {
            id,
            courier_id,
            status,
            sequence,
            pickup,
            dropoff,
            window,
            timeline,
            reference,
            tags,
            version,
        } => {
            let place = |(at, label): (E7, Option<Box<str>>)| -> anyhow::Result<Place> {
                Ok(Place {
                    position: position(at)?,
                    label,
                })
            };
            let step = |(status, at)| TimelineEntry {
                status,
                at: UnixMs(at),
            };
            directory.set_delivery(Delivery {
                id,
                courier_id,
                status,
                sequence,
                pickup: place(pickup)?,
                dropoff: place(dropoff)?,
                window: window.map(|(from, to)| Window {
                    from: UnixMs(from),
                    to: UnixMs(to),
                }),
                timeline: timeline.into_iter().map(step).collect(),
                reference,
                tags,
                version,
            });
        }
        Entry::Link {
            id,
            delivery_id,
            expires_at,
            token_hash,
        } => {
            let expires_at = UnixMs(expires_at);
            directory.set_link(Link {
                id,
                delivery_id,
                expires_at,
                token_hash,
            });
        }
        Entry::Geofence {
            id,
            name,
            shape,
            dwell_s,
            events,
            version,
        } => {
            let ring = |ring: Vec<E7>| ring.into_iter().map(position).collect();
            let shape = match shape {
                Area::Circle(center, radius_m) => Shape::Circle {
                    center: position(center)?,
                    radius_m,
                },
                Area::Polygon(rings) => Shape::Polygon {
                    rings: rings.into_iter().map(ring).collect::<anyhow::Result<_>>()?,
                },
            };
            directory.set_geofence(Geofence {
                id,
                name,
                shape,
                dwell_s,
                events,
                version,
            });
        }
        Entry::ApiKey {
            id,
            name,
            role,
            key_hash,
        } => {
            directory.set_api_key(ApiKey {
                id,
                name,
                role,
                key_hash,
            });
        }
        Entry::Session {
            id,
            role,
            name,
            expires_at,
            token_hash,
            admin_mark,
        } => {
            let expires_at = UnixMs(expires_at);
            directory.set_session(Session {
                id,
                role,
                name,
                expires_at,
                token_hash,
                admin_mark,
            });
        }
        Entry::Erased { courier_id, before } => {
            directory.set_erased(&courier_id, Some(UnixMs(before)));
        }
    }
    Ok(())
}

/// A file whose bytes are summed as they pass.
struct Summed<F> {
    inner: F,
    crc: u32,
}

impl Summed<BufWriter<File>> {
    fn write_all(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        Ok(self.inner.write_all(bytes)?)
    }

    fn entry(&mut self, entry: &Entry) -> anyhow::Result<()> {
        let bytes = postcard::to_stdvec(entry)?;
        self.write_all(&u32::try_from(bytes.len())?.to_le_bytes())?;
        self.write_all(&bytes)
    }
}

impl Summed<BufReader<File>> {
    fn read_exact(&mut self, bytes: &mut [u8]) -> anyhow::Result<()> {
        self.inner
            .read_exact(bytes)
            .context("the file ends too early")?;
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        Ok(())
    }

    fn number(&mut self) -> anyhow::Result<u32> {
        let mut bytes = [0; 4];
        self.read_exact(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }
}
