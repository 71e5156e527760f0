-- What analytics keeps: every fix exactly once, in track segments; and how analysts read them.
--
-- A track segment is one row for one courier and one flush: the columns of its fixes as arrays, in
-- the order of fix_time. Invariants, kept by the sink in the transaction that also moves
-- stream_offset:
--   * a fix is known by (courier_id, fix_time), and stands in one segment only;
--   * a segment lies within one UTC day, the day of its partition;
--   * its arrays are `fixes` long, or null where nothing is known for any of its fixes.
-- Two segments of a courier may overlap in time where fixes came late, but no two end at the same
-- instant, which the primary key also guards.

create schema analytics;

create table public.track_segment (
    courier_id    text collate "C" not null,
    day           date not null,
    segment_from  timestamptz not null,
    segment_to    timestamptz not null,
    fixes         integer not null constraint track_segment_not_empty check (fixes > 0),
    lat_min       double precision not null,
    lat_max       double precision not null,
    lon_min       double precision not null,
    lon_max       double precision not null,
    received_from timestamptz not null,
    received_to   timestamptz not null,
    fix_time_ms   integer[] not null,
    lat_e7        integer[] not null,
    lon_e7        integer[] not null,
    accuracy_dm   integer[],
    speed_cmps    integer[],
    heading_ddeg  smallint[],
    altitude_dm   integer[],
    battery_pct   smallint[],
    primary key (courier_id, segment_to, day)
) partition by range (day);

comment on table public.track_segment is 'Fixes of one courier in one flush or merge, columns as arrays, partitioned by UTC day. Read it through the view fix or the function fixes().';
comment on column public.track_segment.courier_id is 'Courier.';
comment on column public.track_segment.day is 'UTC day of all its fixes; the key of the partition.';
comment on column public.track_segment.segment_from is 'fix_time of its first fix, UTC.';
comment on column public.track_segment.segment_to is 'fix_time of its last fix, UTC.';
comment on column public.track_segment.fixes is 'How many fixes it holds.';
comment on column public.track_segment.lat_min is 'Southern edge of its bounding box, degrees.';
comment on column public.track_segment.lat_max is 'Northern edge of its bounding box, degrees.';
comment on column public.track_segment.lon_min is 'Western edge of its bounding box, degrees; a track across the antimeridian spans from -180 to 180.';
comment on column public.track_segment.lon_max is 'Eastern edge of its bounding box, degrees.';
comment on column public.track_segment.received_from is 'When the first of its uploads was received, UTC.';
comment on column public.track_segment.received_to is 'When the last of its uploads was received, UTC.';
comment on column public.track_segment.fix_time_ms is 'Device GPS times, milliseconds since midnight UTC of day, ascending.';
comment on column public.track_segment.lat_e7 is 'Latitudes, 1e-7 degrees.';
comment on column public.track_segment.lon_e7 is 'Longitudes, 1e-7 degrees.';
comment on column public.track_segment.accuracy_dm is 'Radii of accuracy, decimetres; null: unknown.';
comment on column public.track_segment.speed_cmps is 'Speeds over ground, centimetres per second; null: unknown.';
comment on column public.track_segment.heading_ddeg is 'Headings, tenths of a degree, 0 north, clockwise; null: unknown.';
comment on column public.track_segment.altitude_dm is 'Altitudes, decimetres; null: unknown.';
comment on column public.track_segment.battery_pct is 'Battery charges, percent; null: unknown.';

-- A day's partition. It is made aside and attached, which blocks no reader; `create table …
-- partition of` would wait for every open SELECT and hold up the sink meanwhile.
create function analytics.ensure_day(of_day date) returns boolean language plpgsql as $$
declare
    partition_name text := 'track_segment_' || to_char(of_day, 'YYYYMMDD');
    array_column   text;
begin
    perform pg_advisory_xact_lock(hashtext('waylog track_segment'));
    if to_regclass(format('public.%I', partition_name)) is not null then
        return false;
    end if;
    execute format('create table public.%I (like public.track_segment including all)', partition_name);
    -- Segments of up to about 140 fixes stay in their row; merged ones go out of line, compressed.
    execute format('alter table public.%I set (toast_tuple_target = 4080)', partition_name);
    foreach array_column in array array['fix_time_ms', 'lat_e7', 'lon_e7', 'accuracy_dm',
        'speed_cmps', 'heading_ddeg', 'altitude_dm', 'battery_pct'] loop
        -- Nobody searches by an array's elements, and their statistics are dear.
        execute format('alter table public.%I alter %I set statistics 0', partition_name, array_column);
        begin
            execute format('alter table public.%I alter %I set compression lz4',
                partition_name, array_column);
        exception when feature_not_supported then
            null; -- this Postgres was built without lz4: pglz serves, only slower
        end;
    end loop;
    execute format('create index on public.%I using brin (segment_from, segment_to) with (pages_per_range = 16)',
        partition_name);
    execute format('alter table public.track_segment attach partition public.%I for values from (%L) to (%L)',
        partition_name, of_day, of_day + 1);
    return true;
end $$;
comment on function analytics.ensure_day(date) is 'Makes the partition of a UTC day unless it exists.';

-- One row a fix. The arrays are unnested side by side in the select list, which decodes twice as
-- fast as in the from clause; conditions on courier_id, day, segment_from and segment_to reach the
-- table below and prune. Conditions on fix_time do not: use fixes(), which adds the others.
create view public.fix as
    select courier_id,
           (day::timestamp at time zone 'UTC') + interval '1 millisecond' * fix_time_ms as fix_time,
           lat_e7 / 1e7::double precision as lat,
           lon_e7 / 1e7::double precision as lon,
           accuracy_dm / 10::double precision as accuracy_m,
           speed_cmps / 100::double precision as speed_mps,
           heading_ddeg / 10::double precision as heading_deg,
           altitude_dm / 10::double precision as altitude_m,
           battery_pct,
           day, segment_from, segment_to
      from (select courier_id, day, segment_from, segment_to,
                   unnest(fix_time_ms) as fix_time_ms,
                   unnest(lat_e7) as lat_e7,
                   unnest(lon_e7) as lon_e7,
                   unnest(accuracy_dm) as accuracy_dm,
                   unnest(speed_cmps) as speed_cmps,
                   unnest(heading_ddeg) as heading_ddeg,
                   unnest(altitude_dm) as altitude_dm,
                   unnest(battery_pct) as battery_pct
              from public.track_segment) segment;
comment on view public.fix is 'One row a fix. Give day, segment_from or segment_to besides fix_time, or use fixes(), so that only the segments needed are read.';
comment on column public.fix.courier_id is 'Courier.';
comment on column public.fix.fix_time is 'Device GPS time, UTC, to the millisecond.';
comment on column public.fix.lat is 'Latitude, WGS 84 degrees.';
comment on column public.fix.lon is 'Longitude, WGS 84 degrees.';
comment on column public.fix.accuracy_m is 'Radius of accuracy, metres; null: unknown.';
comment on column public.fix.speed_mps is 'Speed over ground, metres per second; null: unknown.';
comment on column public.fix.heading_deg is 'Heading, degrees, 0 north, clockwise; null: unknown.';
comment on column public.fix.altitude_m is 'Altitude, metres; null: unknown.';
comment on column public.fix.battery_pct is 'Battery charge, percent; null: unknown.';
comment on column public.fix.day is 'UTC day of fix_time; prunes partitions.';
comment on column public.fix.segment_from is 'fix_time of the first fix in the same segment, UTC; prunes segments.';
comment on column public.fix.segment_to is 'fix_time of the last fix in the same segment, UTC; prunes segments by index.';

-- Inlined by the planner: `not strict`, one select, so that partitions and the index are pruned.
create function public.fixes(courier_id text, from_time timestamptz, to_time timestamptz)
returns setof public.fix language sql stable parallel safe as $$
    select * from public.fix f
     where (f.courier_id = $1 or $1 is null)
       and f.day >= (from_time at time zone 'UTC')::date
       and f.day <= (to_time at time zone 'UTC')::date
       and f.segment_to >= from_time
       and f.segment_from < to_time
       and f.fix_time >= from_time
       and f.fix_time < to_time
$$;
comment on function public.fixes(text, timestamptz, timestamptz) is 'Fixes of a courier (null: of all) from from_time on and before to_time, in no order; reads only the segments needed.';

-- Trips, stops and heat: derived from the fixes, kept up to date by a job ------------------------

-- What the sink has added and the job has not looked at yet. Written in the sink's transaction and
-- removed in the job's, so that nothing is looked at too little.
create table analytics.mark (
    id         bigint generated always as identity primary key,
    courier_id text collate "C" not null,
    day        date not null,
    first_at   timestamptz not null,
    last_at    timestamptz not null,
    fixes      integer not null
) with (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 20000);
create index mark_courier_idx on analytics.mark (courier_id);
comment on table analytics.mark is 'Fixes stored since the trip job last looked at their courier and day.';

-- Hours that may hold small segments, which are merged once nothing has come for a while.
create table analytics.unmerged (
    hour       timestamptz primary key,
    touched_at timestamptz not null
);
comment on table analytics.unmerged is 'Hours whose segments may still be merged.';

-- Days that are over and whose partition was written anew after merging, without its gaps.
create table analytics.compacted (
    day date primary key,
    at  timestamptz not null default now()
);
comment on table analytics.compacted is 'Past days whose partition was compacted.';

-- How far the job has read a courier's fixes, and what it has seen of the run under way.
create table analytics.courier_state (
    courier_id text collate "C" primary key,
    as_of      timestamptz not null,
    tracker    jsonb not null
) with (fillfactor = 70);
comment on table analytics.courier_state is 'How far trips and heat of each courier are computed.';

-- Two kinds: those found in the fixes, known by the courier and the first fix of their run, and one
-- for each delivery from its pick-up to its end.
create table public.trip (
    id             bigint generated always as identity primary key,
    courier_id     text collate "C" not null,
    delivery_id    text collate "C",
    start_time     timestamptz not null,
    end_time       timestamptz,
    last_time      timestamptz not null,
    start_lat      double precision not null,
    start_lon      double precision not null,
    last_lat       double precision not null,
    last_lon       double precision not null,
    distance_m     double precision not null,
    moving_s       double precision not null,
    stopped_s      double precision not null,
    stop_count     integer not null,
    mean_speed_mps double precision
        generated always as (case when moving_s > 0 then distance_m / moving_s end) stored,
    max_speed_mps  double precision,
    run_from       timestamptz,
    updated_at     timestamptz not null default now(),
    constraint trip_kind check ((run_from is null) <> (delivery_id is null)),
    constraint trip_run unique (courier_id, run_from),
    constraint trip_delivery unique (delivery_id)
);
create index trip_courier_idx on public.trip (courier_id, start_time);
create index trip_time_idx on public.trip (start_time desc, id desc);

comment on table public.trip is 'Ways of couriers: found between long stops or silences, and one for each delivery. Late fixes correct them.';
comment on column public.trip.id is 'Number of the trip.';
comment on column public.trip.courier_id is 'Courier.';
comment on column public.trip.delivery_id is 'Delivery that it carried out, from pick-up to completion; null: found in the fixes.';
comment on column public.trip.start_time is 'Departure, or pick-up of the delivery, UTC.';
comment on column public.trip.end_time is 'Arrival, or completion of the delivery, UTC; null: under way.';
comment on column public.trip.last_time is 'Newest fix of the trip, UTC.';
comment on column public.trip.start_lat is 'Latitude where it started, degrees.';
comment on column public.trip.start_lon is 'Longitude where it started, degrees.';
comment on column public.trip.last_lat is 'Latitude where it ended or stands, degrees.';
comment on column public.trip.last_lon is 'Longitude where it ended or stands, degrees.';
comment on column public.trip.distance_m is 'Way covered, metres; jitter and outliers left out.';
comment on column public.trip.moving_s is 'Duration without stops, seconds.';
comment on column public.trip.stopped_s is 'Duration of its stops, seconds.';
comment on column public.trip.stop_count is 'How many stops it holds.';
comment on column public.trip.mean_speed_mps is 'distance_m by moving_s, metres per second.';
comment on column public.trip.max_speed_mps is 'Highest speed reported, or measured where none was reported, metres per second.';
comment on column public.trip.run_from is 'First fix of the run in which it was found, UTC: with the courier its identity.';
comment on column public.trip.updated_at is 'When it was last computed, UTC.';

create table public.stop (
    id         bigint generated always as identity primary key,
    courier_id text collate "C" not null,
    start_time timestamptz not null,
    end_time   timestamptz,
    last_time  timestamptz not null,
    lat        double precision not null,
    lon        double precision not null,
    duration_s double precision
        generated always as (extract(epoch from last_time - start_time)) stored,
    run_from   timestamptz not null,
    constraint stop_arrival unique (courier_id, start_time)
);
create index stop_run_idx on public.stop (courier_id, run_from);
create index stop_time_idx on public.stop (start_time);

comment on table public.stop is 'Stays of couriers within a small radius.';
comment on column public.stop.id is 'Number of the stop.';
comment on column public.stop.courier_id is 'Courier.';
comment on column public.stop.start_time is 'First fix of the stay, UTC.';
comment on column public.stop.end_time is 'Last fix of the stay, UTC; null: the courier is still there.';
comment on column public.stop.last_time is 'Newest fix of the stay, UTC.';
comment on column public.stop.lat is 'Mean latitude, degrees.';
comment on column public.stop.lon is 'Mean longitude, degrees.';
comment on column public.stop.duration_s is 'How long it has lasted, seconds.';
comment on column public.stop.run_from is 'First fix of the run in which it was found, UTC.';

-- What each courier adds to each hour: couriers are not additive, so their shares are kept.
create table analytics.heat_share (
    hour           timestamptz not null,
    courier_id     text collate "C" not null,
    cells          bigint[] not null,
    fixes          bigint[] not null,
    speed_fixes    bigint[] not null,
    speed_sum_cmps bigint[] not null,
    primary key (hour, courier_id)
);
comment on table analytics.heat_share is 'Each courier''s share of heat_hour: H3 cells and, for each, fixes, fixes with a speed, and the sum of speeds in cm/s.';

create table public.heat_hour (
    hour           timestamptz not null,
    cell           bigint not null,
    fixes          bigint not null,
    couriers       bigint not null,
    speed_fixes    bigint not null,
    speed_sum_cmps bigint not null,
    primary key (hour, cell)
);
comment on table public.heat_hour is 'Where fixes were, by hour and H3 cell of resolution 9.';
comment on column public.heat_hour.hour is 'Start of the hour, UTC.';
comment on column public.heat_hour.cell is 'H3 index of the cell as a number; to_hex() gives its usual form.';
comment on column public.heat_hour.fixes is 'Fixes in the cell.';
comment on column public.heat_hour.couriers is 'Couriers with a fix in the cell. Not additive over hours or cells.';
comment on column public.heat_hour.speed_fixes is 'Fixes with a known speed.';
comment on column public.heat_hour.speed_sum_cmps is 'Sum of the known speeds, centimetres per second; divided by speed_fixes it is the mean.';

-- The job asks which deliveries have changed since it last looked, and which a courier had lately.
create index delivery_updated_idx on dispatch.delivery (updated_at);
create index delivery_courier_updated_idx on dispatch.delivery (courier_id, updated_at);
create table analytics.progress (
    name text primary key,
    at   timestamptz not null
);
comment on table analytics.progress is 'Up to when each job has looked.';

-- For those who have PostGIS: the same with geometries. Called again and again, since the extension
-- may come later.
create function analytics.postgis_views() returns boolean language plpgsql as $$
begin
    if to_regtype('geometry') is null then
        return false;
    end if;
    if to_regclass('public.trip_path') is not null then
        return true;
    end if;
    execute $sql$
        create view public.fix_geometry as
            select f.*, st_setsrid(st_makepoint(lon, lat), 4326)::geometry(point, 4326) as geom
              from public.fix f;
        create view public.stop_geometry as
            select s.*, st_setsrid(st_makepoint(lon, lat), 4326)::geometry(point, 4326) as geom
              from public.stop s;
        create view public.trip_path as
            select t.*,
                   (select st_makeline(st_setsrid(st_makepoint(f.lon, f.lat), 4326) order by f.fix_time)
                      from public.fixes(t.courier_id, t.start_time,
                                        t.last_time + interval '1 millisecond') f
                   )::geometry(linestring, 4326) as geom
              from public.trip t;
        comment on view public.fix_geometry is 'The view fix with a point, WGS 84. Filter it as fix.';
        comment on view public.stop_geometry is 'Stops with a point, WGS 84.';
        comment on view public.trip_path is 'Trips with the line of their fixes, WGS 84.';
    $sql$;
    if exists (select from pg_roles where rolname = 'waylog_analyst') then
        grant select on public.fix_geometry, public.stop_geometry, public.trip_path to waylog_analyst;
    end if;
    return true;
end $$;
comment on function analytics.postgis_views() is 'Makes the views with geometries if PostGIS is installed.';

-- Analysts ---------------------------------------------------------------------------------------

-- Roles belong to the whole server. Where we may not make one, an administrator does it, and
-- grants what stands below.
do $$ begin
    if not exists (select from pg_roles where rolname = 'waylog_analyst') then
        create role waylog_analyst nologin;
    end if;
exception
    when duplicate_object or unique_violation then null;
    when insufficient_privilege then
        raise notice 'role waylog_analyst cannot be created: ask an administrator of this Postgres';
end $$;
do $$ begin
    if exists (select from pg_roles where rolname = 'waylog_analyst') then
        grant usage on schema public to waylog_analyst;
        grant select on public.track_segment, public.fix, public.event, public.courier,
            public.delivery, public.stream_offset, public.trip, public.stop, public.heat_hour
            to waylog_analyst;
        grant execute on function public.fixes(text, timestamptz, timestamptz) to waylog_analyst;
    end if;
end $$;
