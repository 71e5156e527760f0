-- What dispatch keeps: couriers, devices, deliveries, links, geofences, keys; and what happened.
--
-- Working tables live in the schema `dispatch`; `public` holds what analysts may read. Ids chosen by
-- the caller are text in the "C" collation: they are compared byte by byte, as in the log's keys.

create schema dispatch;

-- Couriers ---------------------------------------------------------------------------------------

create table dispatch.courier (
    id          text collate "C" primary key
                constraint courier_id_form check (id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    name        text constraint courier_name_length check (length(name) <= 200),
    phone       text constraint courier_phone_length check (length(phone) <= 40),
    vehicle     text constraint courier_vehicle check (vehicle in ('bike', 'car', 'van', 'foot')),
    tags        text[] not null default '{}',
    on_duty     boolean not null default true,
    version     bigint not null default 1,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now()
);

-- A phone of a courier. The token itself is never stored, only its SHA-256.
create table dispatch.device (
    id           uuid primary key,
    courier_id   text collate "C" not null
                 constraint device_courier references dispatch.courier on delete cascade,
    label        text constraint device_label_length check (length(label) <= 200),
    speed_unit   text not null default 'kn'
                 constraint device_speed_unit check (speed_unit in ('kn', 'mps', 'kmh')),
    token_hash   bytea not null constraint device_token_unique unique
                 constraint device_token_length check (length(token_hash) = 32),
    token_prefix text not null,
    created_at   timestamptz not null default now(),
    revoked_at   timestamptz
);
create index device_courier_idx on dispatch.device (courier_id);

-- Deliveries -------------------------------------------------------------------------------------

create table dispatch.delivery (
    id              text collate "C" primary key
                    constraint delivery_id_form check (id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    courier_id      text collate "C"
                    constraint delivery_courier references dispatch.courier on delete set null,
    status          text not null default 'created'
                    constraint delivery_status check (status in ('created', 'assigned', 'picked_up',
                        'arrived', 'delivered', 'failed', 'cancelled')),
    sequence        integer not null default 0,
    pickup_lat      double precision not null,
    pickup_lon      double precision not null,
    pickup_label    text,
    dropoff_lat     double precision not null,
    dropoff_lon     double precision not null,
    dropoff_label   text,
    window_from     timestamptz,
    window_to       timestamptz,
    reference       text,
    note            text,
    tags            text[] not null default '{}',
    customer_name   text,
    customer_phone  text,
    customer_email  text,
    customer_locale text,
    -- Steps taken, oldest first: [{"status": …, "at": RFC 3339}].
    timeline        jsonb not null default '[]',
    completed_at    timestamptz,
    version         bigint not null default 1,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    constraint delivery_window_order check (window_from <= window_to)
);
create index delivery_courier_idx on dispatch.delivery (courier_id)
    where status in ('assigned', 'picked_up', 'arrived');
create index delivery_created_idx on dispatch.delivery (created_at desc, id);
create index delivery_completed_idx on dispatch.delivery (completed_at) where completed_at is not null;

-- A tracking link of a delivery: what a customer holds. Hash only, as for devices.
create table dispatch.tracking_link (
    id           uuid primary key,
    delivery_id  text collate "C" not null
                 constraint link_delivery references dispatch.delivery on delete cascade,
    token_hash   bytea not null constraint link_token_unique unique
                 constraint link_token_length check (length(token_hash) = 32),
    token_prefix text not null,
    created_at   timestamptz not null default now(),
    expires_at   timestamptz not null,
    revoked_at   timestamptz
);
create index tracking_link_delivery_idx on dispatch.tracking_link (delivery_id);

-- Geofences --------------------------------------------------------------------------------------

create table dispatch.geofence (
    id         text collate "C" primary key
               constraint geofence_id_form check (id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    name       text not null,
    -- {"circle": {"lat", "lon", "radius_m"}} or {"polygon": <GeoJSON Polygon>}, as in the API.
    shape      jsonb not null,
    dwell_s    integer constraint geofence_dwell check (dwell_s > 0),
    events     text[] not null,
    version    bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

-- Keys -------------------------------------------------------------------------------------------

create table dispatch.api_key (
    id         uuid primary key,
    name       text,
    role       text not null constraint api_key_role check (role in ('admin', 'dispatcher', 'analyst')),
    key_hash   bytea not null constraint api_key_unique unique
               constraint api_key_length check (length(key_hash) = 32),
    key_prefix text not null,
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);

-- What happened ----------------------------------------------------------------------------------

-- Read in commit order: by (xid, id), and only rows whose transaction lies before every running
-- one, `xid < pg_snapshot_xmin(pg_current_snapshot())`, so that a reader's cursor misses nothing.
create table public.event (
    id          bigint generated always as identity primary key,
    xid         xid8 not null default pg_current_xact_id(),
    type        text not null,
    at          timestamptz not null,
    courier_id  text collate "C",
    delivery_id text collate "C",
    geofence_id text collate "C",
    lat         double precision,
    lon         double precision,
    evidence    jsonb not null default '{}',
    -- An event that was recorded under this key before is not recorded again.
    dedupe_key  text constraint event_dedupe unique,
    recorded_at timestamptz not null default now()
);
create index event_order_idx on public.event (xid, id);
create index event_courier_idx on public.event (courier_id, id);
create index event_delivery_idx on public.event (delivery_id, id);

comment on table public.event is 'What happened to couriers and deliveries, with the evidence.';
comment on column public.event.id is 'Number of the event; its webhook-id is evt_<id>.';
comment on column public.event.xid is 'Transaction that recorded it; the order of reading.';
comment on column public.event.type is 'As in delivery.picked_up or geofence.enter.';
comment on column public.event.at is 'When it happened, UTC.';
comment on column public.event.courier_id is 'Courier it is about.';
comment on column public.event.delivery_id is 'Delivery it is about.';
comment on column public.event.geofence_id is 'Geofence it is about.';
comment on column public.event.lat is 'Latitude of the position it was judged by, degrees.';
comment on column public.event.lon is 'Longitude of the position it was judged by, degrees.';
comment on column public.event.evidence is 'What the rule saw: fixes, distances in metres, rule and version.';
comment on column public.event.dedupe_key is 'Key that keeps an event from being recorded twice.';
comment on column public.event.recorded_at is 'When it was recorded, UTC.';

-- Takes one step of a delivery, its timeline entry and its event together, whoever asks first: a
-- person or a rule. Answers false, and changes nothing, if the delivery is in none of the states
-- `from_statuses` (the state machine itself is the program's) or not at `expected_version`.
create function dispatch.delivery_step(
    delivery text, from_statuses text[], to_status text, step_at timestamptz, expected_version bigint,
    event_lat double precision, event_lon double precision, event_evidence jsonb
) returns boolean language plpgsql as $$
declare
    courier text;
begin
    update dispatch.delivery d
       set status = to_status,
           timeline = timeline || jsonb_build_array(jsonb_build_object('status', to_status, 'at',
               to_char(step_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))),
           completed_at = case when to_status in ('delivered', 'failed', 'cancelled') then now() end,
           version = version + 1,
           updated_at = now()
     where d.id = delivery and d.status = any (from_statuses)
       and (expected_version is null or d.version = expected_version)
    returning d.courier_id into courier;
    if not found then
        return false;
    end if;
    insert into public.event (type, at, courier_id, delivery_id, lat, lon, evidence)
    values ('delivery.' || to_status, step_at, courier, delivery, event_lat, event_lon,
            coalesce(event_evidence, '{}'));
    return true;
end $$;

-- Changes, told to every Directory ------------------------------------------------------------------

-- Which rows have changed, by transaction. A Directory that holds everything below transaction h reads
-- the changes with `xid >= h`, reads those rows again (a row that is gone is dropped), and goes on
-- from `pg_snapshot_xmin(pg_current_snapshot())`: so a lost connection costs a look at this table and
-- not a reading of everything. The notification only says that there is something to look at.
create table dispatch.change (
    id         bigint generated always as identity primary key,
    xid        xid8 not null default pg_current_xact_id(),
    tbl        text not null,
    key        text not null,
    changed_at timestamptz not null default now()
);
create index change_xid_idx on dispatch.change (xid);
create index change_age_idx on dispatch.change (changed_at);

create function dispatch.tell() returns trigger language plpgsql as $$
begin
    insert into dispatch.change (tbl, key)
    values (tg_table_name, case when tg_op = 'DELETE' then old.id::text else new.id::text end);
    perform pg_notify('waylog_directory', '');
    return null;
end $$;

create trigger tell after insert or update or delete on dispatch.courier
    for each row execute function dispatch.tell();
create trigger tell after insert or update or delete on dispatch.device
    for each row execute function dispatch.tell();
create trigger tell after insert or update or delete on dispatch.delivery
    for each row execute function dispatch.tell();
create trigger tell after insert or update or delete on dispatch.tracking_link
    for each row execute function dispatch.tell();
create trigger tell after insert or update or delete on dispatch.geofence
    for each row execute function dispatch.tell();
create trigger tell after insert or update or delete on dispatch.api_key
    for each row execute function dispatch.tell();

-- Offsets of groups that keep them beside what they wrote -----------------------------------------

create table public.stream_offset (
    grp        text not null,
    stream_id  text not null,
    part       integer not null,
    next       bigint not null default 0,
    duplicates bigint not null default 0,
    updated_at timestamptz not null default now(),
    primary key (grp, stream_id, part)
);
comment on table public.stream_offset is 'How far each consumer group has read the delivery-location log, moved in the transaction that wrote the rows.';
comment on column public.stream_offset.grp is 'Consumer group.';
comment on column public.stream_offset.stream_id is 'Which log: the embedded log''s uuid, or Kafka''s cluster id and topic.';
comment on column public.stream_offset.part is 'Partition.';
comment on column public.stream_offset.next is 'Next offset to be read.';
comment on column public.stream_offset.duplicates is 'Fixes read that were stored before, counted since the start.';
comment on column public.stream_offset.updated_at is 'Last move, UTC.';

-- For analysts: no names, phone numbers or addresses of customers.
create view public.courier as
    select id, name, vehicle, tags, on_duty, created_at from dispatch.courier;
comment on view public.courier is 'Couriers, without phone numbers.';
create view public.delivery as
    select id, courier_id, status, sequence, pickup_lat, pickup_lon, dropoff_lat, dropoff_lon,
           window_from, window_to, reference, tags, timeline, created_at, updated_at
      from dispatch.delivery;
comment on view public.delivery is 'Deliveries, without names, phone numbers and addresses of customers.';
