-- What notifications keep: webhooks, what is still to be sent to them, what was tried, and what the
-- rules know about each courier.
--
-- Not readable by analysts: a webhook's secret has to be kept as it is, since it signs every call.

create schema notifications;

-- Webhooks -----------------------------------------------------------------------------------------

create table notifications.webhook (
    id                    uuid primary key,
    url                   text not null constraint webhook_url_length check (length(url) <= 2048),
    -- Patterns: *, a group as in delivery.*, or one type.
    events                text[] not null
                          constraint webhook_events check (cardinality(events) between 1 and 64),
    description           text constraint webhook_description_length check (length(description) <= 200),
    enabled               boolean not null default true,
    -- Why it was disabled, where Waylog did it.
    disabled_reason       text,
    secret                bytea not null
                          constraint webhook_secret_length check (length(secret) between 24 and 64),
    -- After a rotation both secrets sign, until then.
    previous_secret       bytea,
    previous_secret_until timestamptz,
    idempotency_key       text constraint webhook_idempotency unique,
    created_at            timestamptz not null default now(),
    updated_at            timestamptz not null default now()
);

-- What is to be sent -------------------------------------------------------------------------------

-- One row an event and receiver, made in the transaction that made the event, gone when it was
-- delivered or given up. Within a lane (a courier) rows are sent in order of event_id.
create table notifications.outbox (
    webhook_id      uuid not null constraint outbox_webhook
                    references notifications.webhook on delete cascade,
    event_id        bigint not null constraint outbox_event
                    references public.event on delete cascade,
    channel         text not null default 'webhook' constraint outbox_channel check (channel = 'webhook'),
    lane            text collate "C" not null,
    attempts        integer not null default 0,
    -- Null: at once.
    next_attempt_at timestamptz,
    created_at      timestamptz not null default now(),
    primary key (webhook_id, event_id)
) with (fillfactor = 80);
create index outbox_event_idx on notifications.outbox (event_id);

-- What was tried -----------------------------------------------------------------------------------

create table notifications.attempt (
    id          bigint generated always as identity primary key,
    webhook_id  uuid not null constraint attempt_webhook
                references notifications.webhook on delete cascade,
    -- Null: a test.
    event_id    bigint,
    event_type  text not null,
    at          timestamptz not null,
    duration_ms integer not null,
    -- The receiver's HTTP status, where it answered.
    status      integer,
    outcome     text not null constraint attempt_outcome
                check (outcome in ('delivered', 'failed', 'gave_up')),
    error       text,
    -- When it will be tried again.
    next_at     timestamptz
);
create index attempt_webhook_idx on notifications.attempt (webhook_id, id);
create index attempt_event_idx on notifications.attempt (event_id);
create index attempt_at_idx on notifications.attempt using brin (at);

-- From an event to the outbox ------------------------------------------------------------------------

-- Whether an event of this type is wanted by these patterns; the program decides the same.
create function notifications.wanted(patterns text[], event_type text) returns boolean
language sql immutable parallel safe as $$
    select exists (select from unnest(patterns) p
                    where p = '*' or p = event_type
                       or (right(p, 2) = '.*' and starts_with(event_type, left(p, -1))))
$$;

-- Events that are known too late for an alarm are recorded and not sent.
create function notifications.enqueue() returns trigger language plpgsql as $$
declare
    receiver uuid;
begin
    for receiver in
        with queued as (
            insert into notifications.outbox (webhook_id, event_id, lane)
            select w.id, e.id, coalesce(e.courier_id, e.delivery_id, '')
              from fresh e join notifications.webhook w on notifications.wanted(w.events, e.type)
             where w.enabled and not coalesce((e.evidence ->> 'late')::boolean, false)
            returning webhook_id)
        select distinct webhook_id from queued
    loop
        perform pg_notify('waylog_outbox', receiver::text);
    end loop;
    return null;
end $$;

create trigger enqueue after insert on public.event referencing new table as fresh
    for each statement execute function notifications.enqueue();

-- The workers read a webhook again when it was changed.
create function notifications.tell() returns trigger language plpgsql as $$
begin
    perform pg_notify('waylog_webhook', coalesce(new.id, old.id)::text);
    return null;
end $$;

create trigger tell after insert or update or delete on notifications.webhook
    for each row execute function notifications.tell();

-- What the rules know --------------------------------------------------------------------------------

-- One blob a courier, written in the transaction that moves the group's offset. It belongs to a
-- stream, as offsets do. It holds the courier's newest fixes.
create table notifications.rule_state (
    stream_id  text not null,
    part       integer not null,
    courier_id text collate "C" not null,
    state      bytea not null,
    primary key (stream_id, part, courier_id)
) with (fillfactor = 70);
create index rule_state_courier_idx on notifications.rule_state (courier_id);

-- Nothing is kept about a courier who is gone.
create function notifications.forget() returns trigger language plpgsql as $$
begin
    delete from notifications.rule_state where courier_id = old.id;
    return null;
end $$;

create trigger forget after delete on dispatch.courier
    for each row execute function notifications.forget();
