-- Which listings are rated or learned from, and when: one row per listing, date and purpose.
--   score             active at the scoring date
--   train             active at a grid date, and labelled within H days after it or drawn from those that nothing labels; or
--                     decided on without a notice, test buy or takedown before, at the end of that day, as is an upheld appeal
--                     of what was active at no grid date before it. The label was known before the first evaluation date
--   evaluate          the same, at the last two grid dates; standalone decisions from the first of them on. A listing that was
--                     bought for its risk makes no row by itself: the champion chose it
--   calibrate         a test buy of known inclusion probability decided on it, so it is never trained on: at the scoring date
--                     if it is active then; if it was removed for this very verdict, at the last grid date before that
--   training_verdict  active at the scoring date, with such a test buy that is trained on, because there are enough
--   known_positive    active at the scoring date and a counterfeit by another source than test buys: part of calibration, too
-- Where labels within H days disagree, the strongest source counts (test buy, decision, notice), then the latest.
with

final as (

    select
        entity_id as listing_id,
        merchant_id,
        {{ spine_columns() }}
    from {{ ref('spines') }}
    where relation = 'listing'

)

select * from final
