-- Events in order also in a restored database.
--
-- Events are read in the order of the transactions that recorded them. The numbers of transactions
-- belong to a Postgres server: where a dump is restored into another one, they begin anew, the events
-- of before would lie in every reader's future, and new ones before its cursor. So what is stored and
-- compared is the number plus a shift. `dispatch.settle_event_order`, which the program calls at every
-- start before it writes, raises the shift where the server's numbers do not lie behind those that
-- are stored; otherwise it changes nothing.

create table dispatch.event_order (
    only_row boolean primary key default true constraint event_order_one_row check (only_row),
    shift    bigint not null default 0 constraint event_order_shift check (shift >= 0)
);
insert into dispatch.event_order default values;

-- The number that an event of this transaction gets.
create function dispatch.event_xid() returns xid8 language sql volatile as $$
    select (pg_current_xact_id()::text::bigint + o.shift)::text::xid8 from dispatch.event_order o
$$;

-- Events below this number can all be seen; later none can come in between.
create function dispatch.event_horizon() returns xid8 language sql stable as $$
    select (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + o.shift)::text::xid8
      from dispatch.event_order o
$$;

alter table public.event alter column xid set default dispatch.event_xid();
comment on column public.event.xid is
    'Transaction that recorded it, counted on through restores; the order of reading.';

-- Answers by how much the shift was raised.
create function dispatch.settle_event_order() returns bigint language plpgsql as $$
declare
    newest   bigint;
    upcoming bigint;
    raised   bigint;
begin
    -- One after the other, so that the second finds it settled.
    perform from dispatch.event_order for update;
    select e.xid::text::bigint into newest from public.event e order by e.xid desc limit 1;
    select pg_snapshot_xmax(pg_current_snapshot())::text::bigint + o.shift into upcoming
      from dispatch.event_order o;
    raised := greatest(coalesce(newest, 0) - upcoming + 1, 0);
    if raised > 0 then
        update dispatch.event_order set shift = shift + raised;
    end if;
    return raised;
end $$;
