-- Listings to rate or train on; one row per listing, date and purpose.
--   score             active at the scoring date
--   train             active at a grid date, and either labelled within H days after it or sampled from the unlabelled ones; or
--                     with a standalone decision: without a notice, test buy or takedown before it, at the end of that day, or an
--                     upheld appeal of a listing that was active at no grid date before it. The label was known before the first
--                     evaluation date
--   evaluate          the same at the last two grid dates; standalone decisions from the first of them on. A listing of the risk
--                     arm makes no row by itself: the champion selected it
--   calibrate         decided by a test buy with a known inclusion probability, hence never trained on: at the scoring date if it
--                     is active then; if it was removed because of this verdict, at the last grid date before that
--   training_verdict  active at the scoring date, with such a test buy that is used to train because there are enough
--   known_positive    active at the scoring date and found counterfeit by another source than test buys; also part of calibration
-- If labels within H days disagree, the strongest source is used (test buy, decision, notice), then the latest.
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
