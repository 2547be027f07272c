{#
    What is looked for in titles and descriptions: how a brand's name is hidden, what makes a word odd, when titles are alike;
    and which reviews are too short to tell one writer from another.
#}

{# A text longer than this is not looked through; titles and descriptions are shorter by far. #}
{% macro most_characters() %}20000{% endmacro %}

{# A text without what nobody sees (characters of no width, marks of direction), by which words are hidden from a search. #}
{% macro without_invisible(text) -%}
    case
        when {{ bytes_in(text) }} <> length({{ text }}) then {{ replace_matches(text, "'\\p{Cf}+'", "''") }}
        else {{ text }}
    end
{%- endmacro %}

{# A text with a space wherever a line or a column ends. #}
{% macro on_one_line(text) -%}
    {{ translated(text, 'chr(9) || chr(10) || chr(13)', "'   '") }}
{%- endmacro %}

{# How many words a text has, as as_words tells them. #}
{% macro words_in(text) -%}
    len({{ parts_of('trim(' ~ as_words(text) ~ ')', "' '") }})
{%- endmacro %}

{#
    The key under which a name and what looks like it are the same: accents dropped, letters of other scripts, digits and
    signs replaced by the Latin letter that they pass for, then letters and spaces alone. What passes for one another has one
    letter: i, l and 1 are l; rn is m and vv is w.
#}
{% macro look_alike_key(text) -%}
    {%- set others = "'аеорсухкмтнвіѕԁјӏгьԛԝһ" ~ "αορνετκιυχ" ~ "01345678i|!$@€£'" -%}
    {%- set latin = "'aeopcyxkmthblsdjlrbqwh" ~ "aopvetklux" ~ "oleasbtblllsael'" -%}
    replace(replace({{ replace_matches(
        translated(without_accents('lower(' ~ text ~ ')'), others, latin), "'[^\\p{L} ]+'", "''"
    ) }}, 'rn', 'm'), 'vv', 'w')
{%- endmacro %}

{# Words in which letters of two scripts stand side by side: nobody's keyboard writes them. #}
{% macro mixed_words(text) -%}
    {{ count_matches(text, "'[\\p{Latin}][\\p{Cyrillic}\\p{Greek}]|[\\p{Cyrillic}\\p{Greek}][\\p{Latin}]'") }}
{%- endmacro %}

{#
    Titles are compared by bands of MinHash over their words and pairs of words: two that have a share j of these in common
    agree in a band with probability j^6, in one of the four with 1 - (1 - j^6)^4: 0.79 where the last word of eleven was
    changed (j = 19/23), 0.001 where two titles of one product share a quarter. Each band is a number.
#}
{% macro title_bands() %}{{ return([0, 1, 2, 3]) }}{% endmacro %}
{% macro hashes_per_band() %}{{ return(6) }}{% endmacro %}

{# The columns of a relation that hold them. #}
{% macro title_band_columns(relation) -%}
    {%- for band in title_bands() -%}
        {{ relation }}.title_band_{{ band }}{{ ', ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{% macro title_band(words, band) -%}
    {%- set hashes = [] -%}
    {%- for number in range(band * hashes_per_band(), (band + 1) * hashes_per_band()) -%}
        {%- do hashes.append(least_hash(words, number)) -%}
    {%- endfor -%}
    {{ row_hash(hashes) }}
{%- endmacro %}

{# What is known by a text: its title and description together. #}
{% macro written_digest(relation) -%}
    {{ text_digest("coalesce(" ~ relation ~ ".title, '') || chr(10) || coalesce(" ~ relation ~ ".description, '')") }}
{%- endmacro %}

{# What findings rest on beside the text: this code, this engine, and the brands' names. One row. #}
{% macro text_recipes() -%}
    select {{ digest_recipe() }} || ':' || coalesce(sum({{ row_hash([
        'names.name_key', 'names.word_count', 'names.known_from', 'names.known_until'
    ]) }}), 0) as recipe
    from {{ source('landed', 'run') }} as run
    left join {{ ref('int_brand_names') }} as names
        on true
    group by {{ digest_recipe() }}
{%- endmacro %}

{# Deletes what was found by other code, another engine or other brands, and in texts that no listing has any more. #}
{% macro forget_other_texts() -%}
    delete from {{ this }} as kept
    where
        kept.recipe not in ({{ text_recipes() }})
        or kept.text_digest not in (select {{ written_digest('history') }} from {{ ref('stg_listing_history') }} as history)
{%- endmacro %}

{# Whether a text is yet to be looked through. #}
{% macro is_not_found_out(text_digest) -%}
    {%- if goes_on() -%}
        {{ text_digest }} not in (select kept.text_digest from {{ this }} as kept)
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}

{# The language of a review as the seeds write it; the empty text where it is not stated. #}
{% macro review_language(relation) -%}
    coalesce(lower(left({{ relation }}.language, 2)), '')
{%- endmacro %}

{#
    By what a review's text is known again: lower case, without what nobody sees, spaces and common signs (for these a regular
    expression takes twice the time).
#}
{% macro review_key(text) -%}
    {{ translated('lower(' ~ without_invisible(text) ~ ')', "' .,;:!?-()''。，！？、；：' || chr(9) || chr(10) || chr(13)", "''") }}
{%- endmacro %}

{#
    A review's text of fewer bytes than this, without spaces and signs, is what many write by chance ("great, thanks"): six
    English words have about as many, or ten Chinese characters.
#}
{% macro least_bytes() %}30{% endmacro %}
