-- Accuracy of each reporter of notices by as_of; one row per reporter: share of its judged notices that were right, shrunk
-- towards that of all reporters by a beta distribution fitted to them (macro reporter_prior), so that few notices have little
-- influence.
with

run as (

    select * from {{ source('landed', 'run') }}

),

{{ known_notices() }},

{{ reporter_prior() }},

final as (

    select
        reporter_counts.as_of as as_of_date,
        reporter_counts.reporter_id,
        reporter_counts.notice_count,
        reporter_counts.judged_count,
        reporter_counts.right_count,
        reporter_counts.pending_count,
        {{ accuracy('reporter_counts.right_count', 'reporter_counts.judged_count') }} as accuracy_share,
        cast(reporter_prior.prior_share as decimal(9, 6)) as prior_share,
        cast(reporter_prior.prior_weight as decimal(9, 6)) as prior_weight,
        reporter_counts.first_submitted_at,
        reporter_counts.last_submitted_at
    from reporter_counts
    cross join reporter_prior

)

select * from final
