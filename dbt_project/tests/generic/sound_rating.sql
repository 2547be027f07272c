{#
    A rating is complete: scores from 0 to 100 in the matching band, with a model; a flagged row has reasons and a term's action,
    and a flagged row that is suppressed is held by its suppression.
#}
{% test sound_rating(model) %}

select *
from {{ model }}
where
    score is null
    or score not between 0 and 100
    or own_conduct_score is null
    or own_conduct_score not between 0 and 100
    or margin is null
    or model_digest is null
    or band is distinct from '[' || least(cast(floor(score / 10) as integer), 9) * 10 || ','
    || (least(cast(floor(score / 10) as integer), 9) + 1) * 10 || case when score >= 90 then ']' else ')' end
    or expected_precision not between 0 and 1
    or (is_flagged and (reasons is null or term is null or action is null))
    or (held_by is not null and not is_flagged)
    or coalesce(held_by = 'suppression', false) <> (is_flagged and is_suppressed)
    or is_suppressed <> (suppressed_until_date is not null)

{% endtest %}
