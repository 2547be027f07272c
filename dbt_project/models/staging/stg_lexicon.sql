with

lexicon as (

    {{ current_rows('lexicon', ['meaning', 'language', 'phrase']) }}

),

final as (

    select
        lexicon.meaning,
        lexicon.language,
        lexicon.phrase
    from lexicon

)

select * from final
