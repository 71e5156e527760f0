-- Every column that analysts see tells what it is.

comment on column public.courier.id is 'Courier, the id that the company gave.';
comment on column public.courier.name is 'Name of the courier.';
comment on column public.courier.vehicle is 'bike, car, van or foot; null: unknown.';
comment on column public.courier.tags is 'Words of the company''s own.';
comment on column public.courier.on_duty is 'Whether the courier is on duty; off duty nothing is stored.';
comment on column public.courier.created_at is 'When the courier was entered, UTC.';

comment on column public.delivery.id is 'Delivery, the id that the company gave.';
comment on column public.delivery.courier_id is 'Courier that it is assigned to; null: nobody.';
comment on column public.delivery.status is 'created, assigned, picked_up, arrived, delivered, failed or cancelled.';
comment on column public.delivery.sequence is 'Its place in the courier''s run, ascending.';
comment on column public.delivery.pickup_lat is 'Latitude of the pick-up, WGS 84 degrees.';
comment on column public.delivery.pickup_lon is 'Longitude of the pick-up, WGS 84 degrees.';
comment on column public.delivery.dropoff_lat is 'Latitude of the drop-off, WGS 84 degrees.';
comment on column public.delivery.dropoff_lon is 'Longitude of the drop-off, WGS 84 degrees.';
comment on column public.delivery.window_from is 'Start of the time window promised, UTC; null: none.';
comment on column public.delivery.window_to is 'End of the time window promised, UTC; null: none.';
comment on column public.delivery.reference is 'The company''s own reference, such as an order number.';
comment on column public.delivery.tags is 'Words of the company''s own.';
comment on column public.delivery.timeline is 'Steps taken, oldest first: [{"status": …, "at": RFC 3339}].';
comment on column public.delivery.created_at is 'When it was entered, UTC.';
comment on column public.delivery.updated_at is 'When it last changed, UTC.';
