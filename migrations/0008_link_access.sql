-- When a tracking link was looked at, and roughly from where: so that a person can be told who saw
-- their delivery, and an operator that a link has got about. Networks, never whole addresses.
create table dispatch.link_access (
    link_id  uuid not null constraint link_access_link
             references dispatch.tracking_link on delete cascade,
    -- The hour that the looks are counted in.
    hour     timestamptz not null,
    channel  text not null constraint link_access_channel
             check (channel in ('websocket', 'events', 'poll')),
    -- The /24 (IPv4) or /48 (IPv6) of the caller.
    network  cidr not null,
    looks    bigint not null,
    first_at timestamptz not null,
    last_at  timestamptz not null,
    primary key (link_id, hour, channel, network)
);
create index link_access_age_idx on dispatch.link_access (hour);

create index delivery_customer_idx on dispatch.delivery (completed_at)
    where completed_at is not null and (customer_name is not null or customer_phone is not null
        or customer_email is not null or dropoff_label is not null or note is not null);
