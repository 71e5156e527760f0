-- What a courier's erasure removes of the stored tracks, and of what was found in them, in the
-- transaction of the erasure itself: nobody who asks after its answer sees any of it.
--
-- Answers how many segments went. A flush of the sink may be on its way into the database meanwhile:
-- the tracks' upkeep calls this again for a while.
create function analytics.erase(courier text, before timestamptz, first_look boolean) returns bigint
language plpgsql as $$
declare
    gone bigint;
begin
    -- Trips and heat are not computed meanwhile: the key of the job's lock.
    perform pg_advisory_xact_lock(8602290269886808065);
    delete from public.track_segment where courier_id = courier and received_from < before;
    get diagnostics gone = row_count;
    if gone = 0 and not first_look then
        return 0;
    end if;
    delete from public.trip where courier_id = courier;
    delete from public.stop where courier_id = courier;
    delete from analytics.courier_state where courier_id = courier;
    delete from analytics.mark where courier_id = courier;
    with gone as (
        delete from analytics.heat_share where courier_id = courier returning *
    ), share as (
        select hour, unnest(cells) as cell, unnest(fixes) as fixes,
               unnest(speed_fixes) as speed_fixes, unnest(speed_sum_cmps) as speed_sum_cmps
          from gone
    )
    update public.heat_hour h set fixes = h.fixes - s.fixes, couriers = h.couriers - 1,
           speed_fixes = h.speed_fixes - s.speed_fixes,
           speed_sum_cmps = h.speed_sum_cmps - s.speed_sum_cmps
      from share s where h.hour = s.hour and h.cell = s.cell;
    delete from public.heat_hour where fixes = 0;
    -- What was received later is looked at anew.
    insert into analytics.mark (courier_id, day, first_at, last_at, fixes)
    select courier_id, day, min(segment_from), max(segment_to), sum(fixes)
      from public.track_segment where courier_id = courier group by courier_id, day;
    return gone;
end $$;

create function analytics.erase_told() returns trigger language plpgsql as $$
begin
    perform analytics.erase(new.courier_id, new.before_received_at, true);
    return null;
end $$;

create trigger erase_tracks after insert or update on dispatch.erased
    for each row execute function analytics.erase_told();

-- Idempotency keys of webhooks are kept like all others now: by caller, and sealed.
alter table notifications.webhook drop column idempotency_key;
