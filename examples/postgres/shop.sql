-- A shop with its own names and codes and some sample data, to try the mapping: psql -d shop -f shop.sql
create table sellers (
    seller_no text primary key, display_name text not null, signed_up_at timestamptz not null, country_code char(2),
    customised boolean not null
);
insert into sellers
select 'S' || i, 'Seller ' || i, timestamptz '2025-01-01' + i * interval '9 days', (array['de', 'fr', 'nl'])[1 + i % 3], i % 4 > 0
from generate_series(1, 40) as i;

create table offers (
    offer_no bigint primary key, seller_no text not null references sellers, kind text not null, title text not null,
    description text, brand text, category_path text, state char(1) not null, price_cents bigint not null, attributes jsonb,
    created_at timestamptz not null, ended_at timestamptz
);
insert into offers
select i, 'S' || 1 + i % 40, case when i % 20 = 0 then 'voucher' else 'physical' end, 'Watch ' || i, 'A watch, number ' || i,
    (array['Pranoprend', 'Volmer', null])[1 + i % 3], 'Fashion > Watches', (array['N', 'N', 'R', 'U'])[1 + i % 4],
    4900 + 37 * i, jsonb_build_object('model_ref', 'W-' || i % 50, 'case', '40 mm'),
    timestamptz '2026-03-01' + i * interval '3 hours', case when i % 9 = 0 then timestamptz '2026-06-20' + i * interval '1 hour' end
from generate_series(1, 400) as i;

create table price_changes (
    offer_no bigint not null references offers, changed_at timestamptz not null, price_cents bigint not null,
    primary key (offer_no, changed_at)
);
insert into price_changes
select offer_no, created_at + n * interval '11 days', price_cents - 50 * n
from offers, generate_series(0, 3) as n where kind = 'physical';

create table purchases (
    purchase_no bigint primary key, offer_no bigint not null references offers, seller_no text not null references sellers,
    customer_no text not null, quantity integer not null, paid_cents bigint not null, bought_at timestamptz not null,
    shipped_at timestamptz, delivered_at timestamptz, paid_back_at timestamptz, paid_back_because text,
    touched_at timestamptz not null
);
insert into purchases
select i, offer_no, seller_no, 'C' || i % 300, 1, price_cents, at, at + interval '1 day', at + interval '4 days',
    case when i % 25 = 0 then at + interval '12 days' end,
    case when i % 25 = 0 then (array['fake', 'wrong item', 'broken', 'mind'])[1 + (i / 25) % 4] end,
    at + case when i % 25 = 0 then interval '12 days' else interval '4 days' end
from (
    select i, o.*, o.created_at + (i % 17) * interval '1 day' as at
    from generate_series(1, 2000) as i join offers as o on o.offer_no = 1 + i % 399 where o.kind = 'physical'
) as bought;

create table feedback (
    feedback_no bigint primary key, offer_no bigint not null references offers, customer_no text, purchase_no bigint references purchases,
    stars integer not null, words text, written_at timestamptz not null
);
insert into feedback
select purchase_no, offer_no, customer_no, purchase_no, 1 + purchase_no % 5, 'It arrived on day ' || purchase_no % 9, bought_at + interval '9 days'
from purchases where purchase_no % 3 = 0;

create table abuse_reports (
    report_no bigint primary key, offer_no bigint not null references offers, topic text not null, decision text,
    declined_because text, reported_at timestamptz not null, decided_at timestamptz
);
insert into abuse_reports
select offer_no, offer_no, 'intellectual property', (array['accepted', 'declined', null])[1 + offer_no % 3],
    case when offer_no % 3 = 1 then 'genuine' end, created_at + interval '20 days',
    case when offer_no % 3 < 2 then created_at + interval '25 days' end
from offers where offer_no % 7 = 0 and kind = 'physical';

create table exchange_rates (code char(3) not null, on_day date not null, dollars numeric(12, 6) not null, primary key (code, on_day));
insert into exchange_rates
select 'EUR', date '2026-01-01' + n, 1.08 + 0.0001 * n from generate_series(0, 200) as n;

-- Touchstone connects as a user with read-only access.
-- create role touchstone_reader login password '...';
-- grant select on all tables in schema public to touchstone_reader;
