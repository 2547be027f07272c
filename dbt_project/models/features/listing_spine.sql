-- Which listings are rated or learned from, and when: one row a listing, date and purpose.
--   score      lives at the scoring date
--   train      lives at a grid date and is labelled within H days after it, or is drawn from those that nothing labels;
--              or was decided on unasked, at the end of that day, as is an upheld appeal of what lived at no grid date
--              before it. Its label was known before the first evaluation date
--   evaluate   the same, at the last two grid dates; what stands alone from the first of them on. What was bought
--              for its risk makes none alone: the champion chose it
--   calibrate  a test buy of known inclusion probability decided on it, so it is never learned from: at the scoring date
--              if it lives then; if it was removed for this very verdict, at the last grid date of its life before it
--   taught     lives at the scoring date, and has such a test buy that is learned from all the same: there are enough
--   known      lives at the scoring date and is a counterfeit by another source than test buys: part of calibration, too
-- Where labels within H days disagree, the strongest source counts (test buy, decision, notice), then the latest.
with

listing_states as (

    select * from {{ ref('listing_states') }}

),

rated as (

    select
        listing_id as entity_id,
        merchant_id,
        category,
        as_of_date,
        is_active,
        {{ add_days('as_of_date', '-listing_age_days') }} as active_since
    from listing_states

),

{{ spine_rows('listing', 'rated', 'test_buy', var('unlabelled_per_date', 15000)) }},

final as (

    select
        entity_id as listing_id,
        merchant_id,
        category,
        as_of_date,
        purpose,
        label,
        label_source,
        label_decided_date,
        sampling_share,
        inclusion_probability,
        expansion_weight,
        is_random_arm,
        is_active
    from spine_rows

)

select * from final
