-- When a courier's data is erased, events keep that something happened and lose where; what the
-- rules know about the courier goes altogether.
create function notifications.erase() returns trigger language plpgsql as $$
begin
    delete from notifications.rule_state where courier_id = new.courier_id;
    update public.event set lat = null, lon = null, evidence = evidence - 'fixes'
     where courier_id = new.courier_id and at < new.before_received_at
       and (lat is not null or evidence ? 'fixes');
    return null;
end $$;

create trigger erase after insert or update on dispatch.erased
    for each row execute function notifications.erase();

-- How far into its partition a courier's state has read. `stream_offset.next` stands at the first
-- record that some courier's stored state does not hold; states that are further on skip what they
-- have read. So states need not be written with every move.
alter table notifications.rule_state add column as_of bigint not null default 0;
