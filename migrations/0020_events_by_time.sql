-- Events of a time are looked for by backtests. They are recorded roughly in the order in which they
-- happened, so that this index costs next to nothing.
create index event_at_idx on public.event using brin (at) with (pages_per_range = 16);
