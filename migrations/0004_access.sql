-- Who may ask, and what they did: users, sessions, one-time codes, remembered answers, the audit log,
-- and what has been erased.

-- A person who signs in with a name and a password (argon2id, as a PHC string).
create table dispatch.account (
    id            uuid primary key,
    username      text collate "C" not null constraint account_username unique
                  constraint account_username_form check (username ~ '^[A-Za-z0-9._@-]{1,64}$'),
    name          text constraint account_name_length check (length(name) <= 200),
    role          text not null
                  constraint account_role check (role in ('admin', 'dispatcher', 'analyst')),
    password_hash text not null,
    disabled      boolean not null default false,
    version       bigint not null default 1,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now()
);

-- A signed-in browser. Deleting the row signs it out, wherever it is.
create table dispatch.session (
    id           uuid primary key,
    token_hash   bytea not null constraint session_token_unique unique
                 constraint session_token_length check (length(token_hash) = 32),
    role         text not null
                 constraint session_role check (role in ('admin', 'dispatcher', 'analyst')),
    name         text not null,
    account_id   uuid constraint session_account references dispatch.account on delete cascade,
    api_key_id   uuid constraint session_api_key references dispatch.api_key on delete cascade,
    -- Signed in with the bootstrap key: a mark of that key, so that another key ends the session.
    admin_mark   bytea,
    created_at   timestamptz not null default now(),
    expires_at   timestamptz not null
);
create index session_account_idx on dispatch.session (account_id);
create index session_api_key_idx on dispatch.session (api_key_id);
create index session_expiry_idx on dispatch.session (expires_at);

create trigger tell after insert or update or delete on dispatch.session
    for each row execute function dispatch.tell();

-- A code that works once: a phone turns it into a device token, a browser into a session.
create table dispatch.one_time_code (
    code_hash  bytea primary key,
    kind       text not null constraint one_time_code_kind check (kind in ('join', 'sign_in')),
    courier_id text collate "C"
               constraint one_time_code_courier references dispatch.courier on delete cascade,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    constraint one_time_code_subject check ((kind = 'join') = (courier_id is not null))
);
create index one_time_code_courier_idx on dispatch.one_time_code (courier_id);
create index one_time_code_expiry_idx on dispatch.one_time_code (expires_at);

-- The answers to creating requests that bore an Idempotency-Key. `scope` is the hash of caller, route
-- and key; the answer is sealed with the caller's own credential, since it may hold a secret that is
-- shown once and is not otherwise stored.
create table dispatch.idempotency (
    scope        bytea primary key,
    request_hash bytea not null,
    status       smallint,
    sealed       bytea,
    created_at   timestamptz not null default now()
);
create index idempotency_age_idx on dispatch.idempotency (created_at);

-- Who changed what. Never a secret, a position or a phone number.
create table dispatch.audit (
    id      bigint generated always as identity primary key,
    at      timestamptz not null default now(),
    actor   text not null,
    role    text not null,
    action  text not null,
    subject text not null,
    detail  jsonb not null default '{}'
);
create index audit_at_idx on dispatch.audit (at);
create index audit_subject_idx on dispatch.audit (subject, id);

-- Records of a courier received before this instant are gone: every reader of the log drops them.
create table dispatch.erased (
    courier_id         text collate "C" primary key,
    before_received_at timestamptz not null,
    erased_at          timestamptz not null default now()
);

create function dispatch.tell_erased() returns trigger language plpgsql as $$
begin
    insert into dispatch.change (tbl, key)
    values ('erased', case when tg_op = 'DELETE' then old.courier_id else new.courier_id end);
    perform pg_notify('waylog_directory', '');
    return null;
end $$;
create trigger tell after insert or update or delete on dispatch.erased
    for each row execute function dispatch.tell_erased();

-- The delivery that /demo leads to; one row at most.
create table dispatch.demo (
    one          boolean primary key default true constraint demo_one check (one),
    tracking_url text not null,
    updated_at   timestamptz not null default now()
);
