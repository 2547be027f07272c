-- Register of court cases as of the date; one row per case and defendant's account, with the current stage and its start. The
-- amount claimed is that of the last stage that stated one.
with

run as (

    select * from {{ source('landed', 'run') }}

),

{{ named() }},

stages as (

    select
        stg_cases.*,
        run.as_of,
        case stg_cases.stage
            when 'filed' then 1 when 'hearing' then 2 when 'settled' then 3 when 'judgment' then 4 else 5
        end as rank
    from {{ ref('stg_cases') }} as stg_cases
    inner join run
        on run.as_of >= cast(stg_cases.stage_at as date)

),

placed as (

    select
        stages.*,
        row_number() over (
            partition by stages.case_id, stages.merchant_id order by stages.stage_at desc, stages.rank desc
        ) as place,
        min(stages.stage_at) over (partition by stages.case_id, stages.merchant_id) as opened_at,
        count(stages.amount) over (
            partition by stages.case_id, stages.merchant_id order by stages.stage_at asc, stages.rank asc
            rows between unbounded preceding and current row
        ) as amount_number
    from stages

),

-- A stage without an amount gets that of the last stage before it that has one.
filled as (

    select
        placed.*,
        max(placed.amount) over (
            partition by placed.case_id, placed.merchant_id, placed.amount_number
        ) as last_amount,
        max(placed.amount_base) over (
            partition by placed.case_id, placed.merchant_id, placed.amount_number
        ) as last_amount_base,
        max(case when placed.amount is not null then placed.currency end) over (
            partition by placed.case_id, placed.merchant_id, placed.amount_number
        ) as last_currency
    from placed

),

final as (

    select
        filled.as_of as as_of_date,
        filled.case_id,
        filled.merchant_id,
        filled.violation_type,
        filled.plaintiff,
        filled.defendant,
        filled.court,
        filled.claim,
        cast(filled.last_amount as decimal(18, 4)) as amount,
        filled.last_currency as currency,
        cast(filled.last_amount_base as decimal(18, 4)) as amount_base,
        filled.stage,
        filled.stage_at,
        filled.opened_at,
        {{ days_between('cast(filled.stage_at as date)', 'filled.as_of') }} as stage_days,
        filled.stage in ('filed', 'hearing') as is_open,
        filled.lead_id,
        named.named_date
    from filled
    left join named
        on
            named.lead_id = filled.lead_id
            and named.merchant_id = filled.merchant_id
    where filled.place = 1

)

select * from final
